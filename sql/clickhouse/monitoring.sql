-- name: series
-- How many points a metric of a run has, and how it began and ended.
select run_id, of_family as family, split, metric, points, first_value as first, last_value as last
from (
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
)
order by family, run_id, split, metric
