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

-- name: known_sequences
-- What is there already of a segment.
select sequence from {table:Identifier} final
where day = {day:Date} and writer = {writer:String} and sequence between {first:UInt64} and {last:UInt64}

-- name: predictions
select at, request_id, position, release_id, model, version, label, probability, latency_ms,
    text_hash, text, probabilities, features
from prediction_log final
where {day:Nullable(Date)} is null or day = {day:Nullable(Date)}
order by at desc, position
limit {limit:UInt32}

-- name: prediction_counts
-- By day and model version: predictions, and how long they took.
select day, model, version, count() as predictions, uniqExact(request_id) as requests,
    quantileExact(0.5)(latency_ms) as p50_ms, quantileExact(0.99)(latency_ms) as p99_ms
from prediction_log final
where {day:Nullable(Date)} is null or day = {day:Nullable(Date)}
group by day, model, version
order by day, model, version

-- name: prediction_performance
-- By day of the prediction and model version: what is known to be true of how many.
select day, model, version, count() as known, avg(is_correct) as accuracy,
    avg(outcome.log_loss) as log_loss, count(outcome.log_loss) as labelled
from prediction_outcomes as outcome
where {day:Nullable(Date)} is null or day = {day:Nullable(Date)}
group by day, model, version
order by day, model, version

-- name: sequence_gaps
-- Records of a writer that are not there, between two that are, or before the first.
select writer, previous + 1 as first, sequence - 1 as last, day
from (
    select writer, sequence, day,
        lagInFrame(sequence, 1, 0) over (
            partition by writer order by sequence
            rows between unbounded preceding and current row
        ) as previous
    from {table:Identifier} final
)
where sequence > previous + 1
order by day, writer, first
