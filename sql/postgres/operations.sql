-- name: remember_finish
insert into finished_run (state, written, changes, warnings)
values (%(state)s, %(written)s, %(changes)s, %(warnings)s)
on conflict (one) do update
set state = excluded.state, written = excluded.written, changes = excluded.changes,
    warnings = excluded.warnings, finished_at = now()

-- name: written
-- Rows that were ever inserted, updated or deleted, and the files of tables and indexes, of which truncating or
-- building makes another: the same as before when nobody wrote. After a crash PostgreSQL counts from 0.
select concat_ws(' ', sum(n_tup_ins + n_tup_upd + n_tup_del), sum(relfilenode::bigint))
from pg_class
left join pg_stat_user_tables on relid = pg_class.oid
where relnamespace = 'ml_schema'::regnamespace and pg_class.relname not like 'finished_run%'

-- name: comment
select obj_description('ml_schema'::regnamespace, 'pg_namespace')

-- name: tables
select tablename from pg_tables where schemaname = 'ml_schema' and tablename <> 'migrations' order by tablename
