-- Of the last entry of the audit log the number, too, so that an end that was cut off is named by it.
alter table audit_head add column entry_id bigint;
comment on column audit_head.entry_id is 'the number of the last entry; null: another hand wrote the row';
update audit_head as head
set entry_id = log.entry_id
from model_audit_logs as log
where log.entry_hash = head.entry_hash;

create or replace function append_audit(who text, what text, about text, why text, more jsonb, machine text)
returns bytea language plpgsql as $$
declare
    before bytea;
    at timestamptz := clock_timestamp();
    place text := concat_ws(' ', machine, pg_catalog.host(inet_client_addr()), 'as', session_user);
    chained bytea;
    number bigint;
begin
    perform pg_advisory_xact_lock(hashtext('ml_schema.model_audit_logs'));
    select entry_hash into before from ml_schema.model_audit_logs order by entry_id desc limit 1;
    before := coalesce(before, '\x'::bytea);
    chained := ml_schema.audit_hash(before, at, who, what, about, why, more, place);
    insert into ml_schema.model_audit_logs
        (logged_at, actor, action, subject, reason, details, address, previous_hash, entry_hash)
    values (at, who, what, about, why, more, place, before, chained)
    returning entry_id into number;
    -- Only if the log still ends as it did: what was cut off stays told.
    insert into ml_schema.audit_head as head (entry_hash, entry_id) values (chained, number)
    on conflict (one) do update set entry_hash = excluded.entry_hash, entry_id = excluded.entry_id
        where head.entry_hash = before;
    return chained;
end $$;
