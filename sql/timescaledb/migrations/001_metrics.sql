-- Metrics as time series: series, and how values are aggregated; points and rollups are made by
-- what the server can (`sql/timescaledb/metrics.sql`).
create table metric_series (
    series bigint primary key,
    name text not null,
    labels jsonb not null
);
create index on metric_series (name);

-- Number, sum, and sum of squared deviations, as PostgreSQL's own functions keep and merge them.
create aggregate metric_moments(double precision) (
    sfunc = float8_accum, stype = double precision[], initcond = '{0,0,0}',
    combinefunc = float8_combine, parallel = safe
);
create aggregate metric_moments_merge(double precision[]) (
    sfunc = float8_combine, stype = double precision[], initcond = '{0,0,0}',
    combinefunc = float8_combine, parallel = safe
);

-- A DDSketch: an array whose subscripts are keys of values and whose elements say how often they
-- came. Values are told apart by 2 %, magnitudes from 1e-9 to 1e18; keys of negative ones are
-- negative. ln(1.02 / 0.98) = 0.040005334613699206. Functions name the schema of those that they call:
-- a continuous aggregate is refreshed with a search path without it.
create function metric_key(value double precision) returns int
language sql immutable strict parallel safe as $$
    select case when abs(value) < 1e-9 then 0 else
        sign(value)::int
        * (floor(ln(least(abs(value), 1e18) * 1e9) / 0.040005334613699206)::int + 1)
    end
$$;

create function metric_value(key int) returns double precision
language sql immutable strict parallel safe as $$
    select case when key = 0 then 0 else
        sign(key) * exp((abs(key) - 1) * 0.040005334613699206) * 1.02 / 1e9
    end
$$;

create function metric_count(sketch bigint[], value double precision) returns bigint[]
language plpgsql immutable parallel safe as $$
declare
    key int := ml_metrics.metric_key(value);
begin
    sketch[key] := coalesce(sketch[key], 0) + 1;
    return sketch;
end
$$;

create function metric_add(sketch bigint[], other bigint[]) returns bigint[]
language plpgsql immutable strict parallel safe as $$
begin
    for key in array_lower(other, 1) .. array_upper(other, 1) loop
        if other[key] is not null then
            sketch[key] := coalesce(sketch[key], 0) + other[key];
        end if;
    end loop;
    return sketch;
end
$$;

create aggregate metric_sketch(double precision) (
    sfunc = metric_count, stype = bigint[], initcond = '{}', combinefunc = metric_add,
    parallel = safe
);
create aggregate metric_sketch_merge(bigint[]) (
    sfunc = metric_add, stype = bigint[], combinefunc = metric_add, parallel = safe
);

-- The values of rank floor(level (n - 1)), from 0 on.
create function metric_quantiles(sketch bigint[], points bigint, levels double precision[])
returns double precision[]
language plpgsql immutable strict parallel safe as $$
declare
    level double precision;
    found double precision[] := '{}';
    rank bigint;
    seen bigint;
    key int;
begin
    foreach level in array levels loop
        rank := floor(level * (points - 1));
        seen := 0;
        key := array_lower(sketch, 1) - 1;
        while seen <= rank loop
            key := key + 1;
            seen := seen + coalesce(sketch[key], 0);
        end loop;
        found := found || ml_metrics.metric_value(key);
    end loop;
    return found;
end
$$;
