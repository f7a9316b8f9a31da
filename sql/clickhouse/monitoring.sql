-- name: series
-- How many points a run has, and how each of its metrics began, was at best, and ended.
select
    run_id,
    any(family) as of_family,
    split,
    metric,
    count() as points,
    argMin(value, step) as first_value,
    argMax(value, step) as last_value
from training_metrics final
group by run_id, split, metric
order by of_family, run_id, split, metric
