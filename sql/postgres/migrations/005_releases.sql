-- Releases, what a person rolled back from, and the audit log.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name;
end $$;

-- One row for all that was served together, with the time in which it was. Rows are appended; of the open one
-- only the end is set. What is served, since when and until when is told by them alone.
create table releases (
    release_id bigint generated always as identity primary key,
    space_id text,
    generation_id text,
    feature_views jsonb not null default '{}',
    model_name text,
    model_version integer,
    model_space_id text,
    served tstzrange not null check (not isempty(served) and not lower_inf(served)),
    actor text not null,
    action text not null,
    reason text not null,
    constraint releases_served_alone exclude using gist (served with &&)
);
comment on column releases.space_id is 'of the search generation';
comment on column releases.model_space_id is 'whose vectors the model reads';

create function refuse_rewriting() returns trigger language plpgsql as $$
begin
    if upper_inf(old.served) and not upper_inf(new.served) and lower(new.served) = lower(old.served)
        and to_jsonb(new) - 'served' = to_jsonb(old) - 'served' then
        return new;
    end if;
    raise exception '% is append-only: of a row only the end of its time is set, once', tg_table_name;
end $$;
create trigger releases_are_closed_only before update on releases
    for each row execute function refuse_rewriting();
create trigger releases_append_only before delete or truncate on releases
    for each statement execute function refuse_change();

create table withdrawals (
    part text not null,
    identity text not null,
    actor text not null,
    reason text not null,
    withdrawn_at timestamptz not null default now(),
    primary key (part, identity)
);
comment on table withdrawals is 'what a person rolled back from; no run serves it again until a person does';

create table model_audit_logs (
    entry_id bigint generated always as identity primary key,
    logged_at timestamptz not null default clock_timestamp(),
    actor text not null,
    action text not null,
    subject text not null,
    reason text not null,
    details jsonb not null,
    previous_hash bytea not null,
    entry_hash bytea not null unique
);

create trigger model_audit_logs_append_only
    before update or delete or truncate on model_audit_logs
    for each statement execute function refuse_change();

-- The hash of an entry covers the hash before it, so that no past entry can be altered, dropped or
-- moved without breaking every later one. The lock makes "the entry before" well defined.
create function append_audit(who text, what text, about text, why text, more jsonb)
returns bytea language plpgsql as $$
declare
    before bytea;
    at timestamptz := clock_timestamp();
    chained bytea;
begin
    perform pg_advisory_xact_lock(hashtext('ml_schema.model_audit_logs'));
    select entry_hash into before from ml_schema.model_audit_logs order by entry_id desc limit 1;
    before := coalesce(before, '\x'::bytea);
    chained := ml_schema.audit_hash(before, at, who, what, about, why, more);
    insert into ml_schema.model_audit_logs
        (logged_at, actor, action, subject, reason, details, previous_hash, entry_hash)
    values (at, who, what, about, why, more, before, chained);
    return chained;
end $$;

create function audit_hash(before bytea, at timestamptz, who text, what text, about text, why text, more jsonb)
returns bytea language sql immutable as $$
    select sha256(before || convert_to(
        jsonb_build_array(extract(epoch from at)::text, who, what, about, why, more)::text, 'UTF8'))
$$;
