-- By what a later change by another hand is told: the end of the audit log, a measurement, the files of a model.
create table audit_head (
    one boolean primary key default true check (one),
    entry_hash bytea not null
);
comment on table audit_head is 'the hash of the last entry of the audit log: with it, its last entries cannot be cut off unseen';
insert into audit_head (entry_hash) select entry_hash from model_audit_logs order by entry_id desc limit 1;

create or replace function append_audit(who text, what text, about text, why text, more jsonb)
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
    -- Only if the log still ends as it did: what was cut off stays told.
    insert into ml_schema.audit_head as head (entry_hash) values (chained)
    on conflict (one) do update set entry_hash = excluded.entry_hash where head.entry_hash = before;
    return chained;
end $$;

create function measurement_hash(document jsonb) returns text language sql immutable parallel safe as $$
    select encode(sha256(convert_to((document - '{state,hash}'::text[])::text, 'UTF8')), 'hex')
$$;

alter table experiments add column files jsonb not null default '{}';
comment on column experiments.files is 'sha256 in hex of each file of its model and its run, by the path in the folder of artifacts; of a server none';
