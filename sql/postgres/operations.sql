-- name: forget_finish
insert into finished_run (state, changes) values (%(state)s, 0)
on conflict (one) do update set state = excluded.state, standing = null

-- name: remember_finish
-- Unless another state was written since the run began.
update finished_run
set state = %(state)s, written = %(written)s, changes = %(changes)s, warnings = %(warnings)s, standing = null,
    finished_at = now()
where state = %(begun)s

-- name: keep_standing
-- Of the finish that was there before it was looked: of another one it may tell what is no more.
update finished_run set standing = %(standing)s where written = %(written)s and finished_at = %(finished_at)s

-- name: written
-- Rows that were ever inserted, updated or deleted, and the files of tables and indexes, of which truncating or
-- building makes another: the same as before when nobody wrote. After a crash PostgreSQL counts from 0.
-- Not what no run reads: the processes that serve, their keys, what people said of answers, alerts, and where backups
-- are; and of the audit log what it says of keys, of what was refused, and of the homes that keep its end. Of what was
-- pushed the source tells.
with apart as (
    select oid
    from pg_class
    where relnamespace = 'ml_schema'::regnamespace
        and relname in ('finished_run', 'deployments', 'api_keys', 'judgments', 'push_tickets', 'pushed_documents',
            'model_audit_logs', 'audit_head', 'backups', 'alerts', 'alert_events', 'alert_deliveries')
)
select concat_ws(
    ' ',
    sum(n_tup_ins + n_tup_upd + n_tup_del),
    sum(relfilenode::bigint),
    (
        select count(*) from ml_schema.model_audit_logs
        where not starts_with(subject, 'key/') and action not in ('anchor', 'deny')
    ),
    -- Nobody but another hand alters it or takes anything out of it, and its head moves with each entry.
    (
        select sum(
            case relname when 'audit_head' then n_tup_ins + n_tup_upd + n_tup_del
                else n_tup_upd + n_tup_del - n_tup_ins end
        )
        from pg_stat_user_tables
        where schemaname = 'ml_schema' and relname in ('model_audit_logs', 'audit_head')
    )
)
from pg_class
left join pg_index on indexrelid = pg_class.oid
left join pg_stat_user_tables on relid = pg_class.oid
where relnamespace = 'ml_schema'::regnamespace
    and pg_class.oid not in (table apart)
    and coalesce(indrelid, 0) not in (table apart)

-- name: comment
select obj_description('ml_schema'::regnamespace, 'pg_namespace')

-- name: tables
select tablename from pg_tables where schemaname = 'ml_schema' and tablename <> 'migrations' order by tablename

-- name: remove_from_lists
update {table}
set document_ids = array(select each from unnest(document_ids) as each where each <> all(%(document_ids)s))
where document_ids && %(document_ids)s::text[]

-- name: change_texts
update {table} set {column} = changed.new::{type}
from unnest(%(old)s::text[], %(new)s::text[]) as changed (old, new)
where {column}::text = changed.old

-- name: keep_backup
insert into backups (host, folder, made_at) values (%(host)s, %(folder)s, %(made_at)s)
on conflict (host, folder) do update set made_at = excluded.made_at

-- name: backups
select host, folder, made_at from backups order by made_at, host, folder
