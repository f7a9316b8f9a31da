-- Releases, and the audit log of all that was published, promoted, rolled back and dropped.
create table releases (
    release_id bigint generated always as identity primary key,
    space_id text not null,
    generation_id text,
    feature_views jsonb not null,
    model_name text,
    model_version integer,
    active boolean not null default true,
    actor text not null,
    reason text not null,
    created_at timestamptz not null default now()
);
create unique index releases_one_active on releases ((true)) where active;

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

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name;
end $$;

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
