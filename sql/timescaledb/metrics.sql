-- name: extension
-- What the server has: whether TimescaleDB is created, could be, and under which licence.
select
    exists (select from pg_extension where extname = 'timescaledb') as is_created,
    exists (select from pg_available_extensions where name = 'timescaledb') as is_available

-- name: kind
select case
    when to_regclass('metric_points') is null then null
    when (select relkind from pg_class where oid = to_regclass('metric_points')) = 'p' then 'plain'
    when (select relkind from pg_class where oid = to_regclass('metric_minute')) = 'v'
        then 'continuous'
    else 'hypertable'
end

-- name: create_ledger
create table if not exists migrations (
    name text primary key, checksum text not null, applied_at timestamptz not null default now()
)

-- name: create_partitioned
create table metric_points (
    series bigint not null, at timestamptz not null, value double precision not null,
    primary key (series, at)
) partition by range (at);
create index on metric_points using brin (at) with (pages_per_range = 32);

-- name: create_hypertable
create table metric_points (
    series bigint not null, at timestamptz not null, value double precision not null,
    primary key (series, at)
);
select create_hypertable(
    'metric_points', 'at', chunk_time_interval => interval '1 day', create_default_indexes => false
);
create index on metric_points using brin (at) with (pages_per_range = 32);

-- name: create_rollups
create table metric_minute (
    series bigint not null, bucket timestamptz not null, moments double precision[] not null,
    low double precision not null, high double precision not null, sketch bigint[] not null,
    primary key (series, bucket)
);
create table metric_hour (like metric_minute including all);
create table metric_day (like metric_minute including all);

-- name: create_aggregates
create table metric_stale (first timestamptz not null, last timestamptz not null);
create materialized view metric_minute
with (timescaledb.continuous, timescaledb.materialized_only = false) as
select
    series, time_bucket('1 minute', at) as bucket, metric_moments(value) as moments,
    min(value) as low, max(value) as high, metric_sketch(value) as sketch
from metric_points
group by 1, 2
with no data;
create materialized view metric_hour
with (timescaledb.continuous, timescaledb.materialized_only = false) as
select
    series, time_bucket('1 hour', bucket) as bucket, metric_moments_merge(moments) as moments,
    min(low) as low, max(high) as high, metric_sketch_merge(sketch) as sketch
from metric_minute
group by 1, 2
with no data;
create materialized view metric_day
with (timescaledb.continuous, timescaledb.materialized_only = false) as
select
    series, time_bucket('1 day', bucket) as bucket, metric_moments_merge(moments) as moments,
    min(low) as low, max(high) as high, metric_sketch_merge(sketch) as sketch
from metric_hour
group by 1, 2
with no data;
select add_continuous_aggregate_policy('metric_minute', '3 hours', '2 minutes', '1 minute');
select add_continuous_aggregate_policy('metric_hour', '6 hours', '1 hour', '10 minutes');
select add_continuous_aggregate_policy('metric_day', '4 days', '1 day', '1 hour');
alter table metric_points set (
    timescaledb.compress, timescaledb.compress_segmentby = 'series',
    timescaledb.compress_orderby = 'at'
);
select add_compression_policy('metric_points', interval '7 days');

-- name: take_turn
select pg_advisory_xact_lock(hashtext('ml_metrics.write'))

-- name: name
insert into metric_series (series, name, labels)
select * from unnest(%(ids)b::bigint[], %(names)b::text[], %(labels)b::jsonb[])
on conflict do nothing

-- name: series
select series, labels from metric_series where name = %(name)s

-- name: write
insert into metric_points as known (series, at, value)
select id, 'epoch'::timestamptz + micros * interval '1 microsecond', value
from unnest(%(ids)b::bigint[], %(times)b::bigint[], %(values)b::double precision[])
    as given (id, micros, value)
on conflict (series, at) do update set value = excluded.value
where known.value is distinct from excluded.value

-- name: roll_points
-- The minutes that were written, anew. Equal times are joined by a hash; a join by ranges compared
-- each point with each minute of its series.
insert into metric_minute
select
    points.series, written.bucket, metric_moments(value), min(value), max(value),
    metric_sketch(value)
from (
    select id as series, to_timestamp(second) as bucket
    from unnest(%(ids)b::bigint[], %(seconds)b::bigint[]) as given (id, second)
) as written
join metric_points as points
    on points.series = written.series
    and date_bin('1 minute', points.at, 'epoch') = written.bucket
where points.series = any(%(series)b::bigint[])
    and points.at >= to_timestamp(%(begin)s) and points.at < to_timestamp(%(end)s)
group by points.series, written.bucket
on conflict (series, bucket) do update set
    moments = excluded.moments, low = excluded.low, high = excluded.high,
    sketch = excluded.sketch

-- name: roll_up
-- Longer buckets that were written, anew from the shorter ones in them.
insert into {target}
select
    finer.series, written.bucket, metric_moments_merge(moments), min(low), max(high),
    metric_sketch_merge(sketch)
from (
    select id as series, to_timestamp(second) as bucket
    from unnest(%(ids)b::bigint[], %(seconds)b::bigint[]) as given (id, second)
) as written
join {source} as finer
    on finer.series = written.series
    and date_bin(%(span)s * interval '1 second', finer.bucket, 'epoch') = written.bucket
where finer.series = any(%(series)b::bigint[])
    and finer.bucket >= to_timestamp(%(begin)s) and finer.bucket < to_timestamp(%(end)s)
group by finer.series, written.bucket
on conflict (series, bucket) do update set
    moments = excluded.moments, low = excluded.low, high = excluded.high,
    sketch = excluded.sketch

-- name: points
select series, (extract(epoch from at) * 1000000)::bigint as at, value
from metric_points
where series = any(%(ids)b::bigint[])
    and at >= 'epoch'::timestamptz + %(begin)s * interval '1 microsecond'
    and at < 'epoch'::timestamptz + %(end)s * interval '1 microsecond'
order by series, metric_points.at

-- name: latest
select distinct on (series) series, (extract(epoch from at) * 1000000)::bigint as at, value
from metric_points
where series = any(%(ids)b::bigint[])
    and at >= 'epoch'::timestamptz + %(begin)s * interval '1 microsecond'
    and at < 'epoch'::timestamptz + %(end)s * interval '1 microsecond'
order by series, metric_points.at desc

-- name: aggregate
-- From a rollup. Times in seconds since 1970.
with merged as (
    select
        place,
        date_bin(%(step)s * interval '1 second', bucket, 'epoch') as at,
        metric_moments_merge(moments) as moments,
        min(low) as low,
        max(high) as high,
        {sketch} as sketch
    from {source}
    join unnest(%(ids)b::bigint[], %(groups)b::int[]) as member (series, place) using (series)
    where series = any(%(ids)b::bigint[])
        and bucket >= to_timestamp(%(begin)s) and bucket < to_timestamp(%(end)s)
    group by 1, 2
)
select
    place, extract(epoch from at)::bigint, moments[1]::bigint, float8_avg(moments), low, high,
    float8_stddev_samp(moments), 
    coalesce(
        metric_quantiles(sketch, moments[1]::bigint, %(levels)b::float8[]), '{{}}'
    )
from merged
order by place, at

-- name: exact
-- The same, from the points.
with merged as (
    select
        place,
        date_bin(%(step)s * interval '1 second', at, 'epoch') as bucket,
        metric_moments(value) as moments,
        min(value) as low,
        max(value) as high,
        array_agg(value order by value) as sorted
    from metric_points
    join unnest(%(ids)b::bigint[], %(groups)b::int[]) as member (series, place) using (series)
    where series = any(%(ids)b::bigint[])
        and at >= to_timestamp(%(begin)s) and at < to_timestamp(%(end)s)
    group by 1, 2
)
select
    place, extract(epoch from bucket)::bigint, moments[1]::bigint, float8_avg(moments), low, high,
    float8_stddev_samp(moments),
    array(
        select sorted[floor(level * (moments[1] - 1))::int + 1]
        from unnest(%(levels)b::float8[]) with ordinality as asked (level, number)
        order by number
    )
from merged
order by place, bucket

-- name: partitions
-- Each partition of the points, and its bytes.
select c.relname, pg_total_relation_size(c.oid)
from pg_inherits join pg_class as c on c.oid = inhrelid
where inhparent = 'metric_points'::regclass
order by 1

-- name: add_partition
create table if not exists {partition} partition of metric_points
for values from ({begin}) to ({end})

-- name: rows
select tableoid::regclass::text, count(*) from metric_points group by 1

-- name: counts
select name, labels, rows
from (select series, count(*) as rows from metric_points group by series) as counted
join metric_series using (series)

-- name: rollup
select count(*), pg_total_relation_size({table}::regclass) from {source}

-- name: drop
-- Before which day there are no points, if there were any: rollups by the day are kept always.
insert into metric_dropped (before)
select %(before)s::date
where exists (select from metric_day where bucket < (%(before)s::date)::timestamp at time zone 'UTC')
on conflict (is_one) do update set before = greatest(metric_dropped.before, excluded.before)

-- name: dropped
select max(before) from metric_dropped

-- name: expire
delete from {table} where bucket < %(first)s

-- name: chunks
select
    chunk_name, range_start, range_end, is_compressed,
    pg_total_relation_size(format('%I.%I', chunk_schema, chunk_name)::regclass)
from timescaledb_information.chunks
where hypertable_schema = current_schema() and hypertable_name = 'metric_points'
order by range_start

-- name: compressed
-- Bytes of the chunks that are compressed, before and after.
select
    chunk_name, before_compression_total_bytes,
    after_compression_total_bytes
from chunk_compression_stats('metric_points')
where compression_status = 'Compressed'

-- name: uncompressed
-- The chunks of points and of aggregates that ended before a time.
select format('%%I.%%I', chunk_schema, chunk_name)
from timescaledb_information.chunks
where not is_compressed and range_end < %(before)s
    and (
        hypertable_schema = current_schema() and hypertable_name = 'metric_points'
        or (hypertable_schema, hypertable_name) in (
            select materialization_hypertable_schema, materialization_hypertable_name
            from timescaledb_information.continuous_aggregates
            where view_schema = current_schema()
        )
    )
order by range_start, hypertable_name

-- name: plain_aggregates
-- The continuous aggregates that are not compressed, and what they are kept in.
select
    view_name::text,
    format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
from timescaledb_information.continuous_aggregates
where view_schema = current_schema() and not compression_enabled

-- name: compress_aggregate
select set_chunk_time_interval({table}::regclass, {span}::interval);
alter materialized view {view} set (
    timescaledb.compress, timescaledb.compress_segmentby = 'series',
    timescaledb.compress_orderby = 'bucket'
);
select add_compression_policy({name}::regclass, interval '7 days')

-- name: aggregate_size
-- Bytes of what a continuous aggregate has kept.
select hypertable_size(
    format('%%I.%%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass
)
from timescaledb_information.continuous_aggregates
where view_schema = current_schema() and view_name = %(name)s
