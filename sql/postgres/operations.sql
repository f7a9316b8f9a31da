-- name: champion
select r.model_name, r.model_version as version, e.family, m.metrics, r.actor, r.reason, r.created_at
from releases r
left join model_artifacts m on m.model_name = r.model_name and m.version = r.model_version
left join experiments e on e.run_id = m.run_id
where r.active

-- name: finished_run
select state, changes, finished_at, warnings from finished_run

-- name: generations
select generation_id, space_id, state, created_at, published_at, evaluation
from search_generations
order by created_at desc
limit 5

-- name: remember_finish
insert into finished_run (state, changes, warnings) values (%(state)s, %(changes)s, %(warnings)s)
on conflict (one) do update
set state = excluded.state, changes = excluded.changes, warnings = excluded.warnings, finished_at = now()
