-- name: remember_finish
insert into finished_run (state, changes, warnings) values (%(state)s, %(changes)s, %(warnings)s)
on conflict (one) do update
set state = excluded.state, changes = excluded.changes, warnings = excluded.warnings, finished_at = now()
