insert into finished_run (state, changes) values (%(state)s, %(changes)s)
on conflict (one) do update
set state = excluded.state, changes = excluded.changes, finished_at = now()
