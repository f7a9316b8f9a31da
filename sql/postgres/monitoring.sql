-- name: histories
select run_id, family, history, ended_at
from experiments
where run_id <> all(%(known)s) and jsonb_array_length(history) > 0
order by ended_at

-- name: versions
select model_name, version, metrics, created_at
from model_artifacts
order by model_name, version
