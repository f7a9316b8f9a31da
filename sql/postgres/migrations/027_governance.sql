-- Where an entry of the audit log was written from, and what each actor may do.
alter table model_audit_logs add column address text;
comment on column model_audit_logs.address is 'the host that wrote it, the address that PostgreSQL saw it at, and its login; null: of the time before they were kept';

-- Entries of before keep their hash.
create function audit_hash(
    before bytea, at timestamptz, who text, what text, about text, why text, more jsonb, place text
) returns bytea language sql immutable as $$
    select case
        when place is null then ml_schema.audit_hash(before, at, who, what, about, why, more)
        else sha256(before || convert_to(
            jsonb_build_array(extract(epoch from at)::text, who, what, about, why, more, place)::text, 'UTF8'))
    end
$$;

drop function append_audit(text, text, text, text, jsonb);
create function append_audit(who text, what text, about text, why text, more jsonb, machine text)
returns bytea language plpgsql as $$
declare
    before bytea;
    at timestamptz := clock_timestamp();
    place text := concat_ws(' ', machine, pg_catalog.host(inet_client_addr()), 'as', session_user);
    chained bytea;
begin
    perform pg_advisory_xact_lock(hashtext('ml_schema.model_audit_logs'));
    select entry_hash into before from ml_schema.model_audit_logs order by entry_id desc limit 1;
    before := coalesce(before, '\x'::bytea);
    chained := ml_schema.audit_hash(before, at, who, what, about, why, more, place);
    insert into ml_schema.model_audit_logs
        (logged_at, actor, action, subject, reason, details, address, previous_hash, entry_hash)
    values (at, who, what, about, why, more, place, before, chained);
    -- Only if the log still ends as it did: what was cut off stays told.
    insert into ml_schema.audit_head as head (entry_hash) values (chained)
    on conflict (one) do update set entry_hash = excluded.entry_hash where head.entry_hash = before;
    return chained;
end $$;

-- Roles are what the log says of them: whoever alters them alters it, and that shows.
create index model_audit_logs_roles on model_audit_logs (subject, entry_id desc)
    where action in ('grant role', 'revoke role');
create view roles as
select actor, role, granted_at, granted_by
from (
    select distinct on (subject)
        substr(subject, 7) as actor, details ->> 'role' as role, logged_at as granted_at, actor as granted_by
    from ml_schema.model_audit_logs
    where action in ('grant role', 'revoke role')
    order by subject, entry_id desc
) as last
where role is not null;
comment on view roles is 'viewer, trainer, approver or admin, by actor; of one who has none there is no row';

-- Whoever has no role may nothing, but while nobody has one all may do all.
create function may(who text, needed text) returns boolean language sql stable as $$
    select not exists (select from ml_schema.roles) or exists (
        select from ml_schema.roles
        where actor = who
            and array_position(array['viewer', 'trainer', 'approver', 'admin'], role)
                >= array_position(array['viewer', 'trainer', 'approver', 'admin'], needed)
    )
$$;
