-- name: forget_finish
insert into finished_run (state, changes) values (%(state)s, 0)
on conflict (one) do update set state = excluded.state

-- name: remember_finish
-- Unless another state was written since the run began.
update finished_run
set state = %(state)s, written = %(written)s, changes = %(changes)s, warnings = %(warnings)s, finished_at = now()
where state = %(begun)s

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
