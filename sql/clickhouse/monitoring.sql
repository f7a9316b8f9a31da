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

-- name: known_runs
-- What there is of each run, and what came of it when it was copied.
select
    run_id, count(), any(stage), any(family), any(version), any(release_id)
from training_metrics final
group by run_id

-- name: training_steps
-- A metric of the last trainings by step, with the place where they ran and what came of them.
select
    family, run_id, split, step, value, logged_at, version, release_id, host, process, device
from training_metrics final
where stage = {stage:String} and metric = {metric:String} and logged_at >= {begin:DateTime}
order by logged_at, family, run_id, split, step

-- name: known_sequences
-- What is there already of a segment.
select sequence from {table:Identifier} final
where day = {day:Date} and writer = {writer:String} and sequence between {first:UInt64} and {last:UInt64}

-- name: predictions
select at, request_id, position, release_id, model, version, label, probability, latency_ms,
    text_hash, text, probabilities, features
from prediction_log final
where ({day:Nullable(Date)} is null or day = {day:Nullable(Date)}) and model != '' -- of an erased one its place is left
order by at desc, position
limit {limit:UInt32}

-- name: request
-- What was predicted of the texts of a request.
select at, request_id, position, release_id, model, version, label, probability, text_hash
from prediction_log final
where request_id = {request_id:String}
order by position

-- name: prediction_counts
-- By day and model version: predictions, and how long they took.
select day, model, version, count() as predictions, uniqExact(request_id) as requests,
    quantileExact(0.5)(latency_ms) as p50_ms, quantileExact(0.99)(latency_ms) as p99_ms
from prediction_log final
where ({day:Nullable(Date)} is null or day = {day:Nullable(Date)}) and model != ''
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
    where {since:Nullable(Date)} is null or day >= {since:Nullable(Date)} - 1
)
where sequence > previous + 1 and ({since:Nullable(Date)} is null or (previous > 0 and day >= {since:Nullable(Date)}))
order by day, writer, first

-- name: roll_up
-- The hours of some days, anew from the log.
insert into model_performance_hourly (
    hour, model, version, predictions, requests, probability, latency_ms
)
select
    toStartOfHour(at) as hour,
    model,
    version,
    count(),
    uniqExact(request_id),
    avg(probability),
    quantilesTDigestState(0.5, 0.95, 0.99)(latency_ms)
from prediction_log final
where day between {first:Date} and {last:Date} and model != ''
group by hour, model, version

-- name: roll_up_days
-- Some days anew, from their hours. A request that goes over an hour counts in each.
insert into model_performance_daily (
    day, model, version, predictions, requests, probability, latency_ms
)
select
    toDate(hourly.hour, 'UTC') as day,
    model,
    version,
    sum(hourly.predictions),
    sum(hourly.requests),
    sum(hourly.predictions * hourly.probability) / sum(hourly.predictions),
    quantilesTDigestMergeState(0.5, 0.95, 0.99)(hourly.latency_ms)
from (
    select * from model_performance_hourly final
    where hour >= toDateTime({first:Date}, 'UTC') and hour < toDateTime({last:Date} + 1, 'UTC')
) as hourly
group by day, model, version

-- name: daily
-- By day and model version; latencies in milliseconds. What was true is told later than a day is computed.
select
    answered.day as day, answered.model as model, answered.version as version,
    answered.predictions as predictions, answered.requests as requests,
    answered.probability as probability,
    finalizeAggregation(answered.latency_ms)[1] as p50_ms,
    finalizeAggregation(answered.latency_ms)[2] as p95_ms,
    finalizeAggregation(answered.latency_ms)[3] as p99_ms,
    coalesce(told.known, 0) as known, told.accuracy as accuracy
from (
    select * from model_performance_daily final
    where day between {first:Date} and {last:Date}
) as answered
left join (
    select day, model, version, count() as known, toNullable(avg(is_correct)) as accuracy
    from prediction_outcomes
    where day between {first:Date} and {last:Date}
    group by day, model, version
) as told using (day, model, version)
order by day, model, version

-- name: daily_of_model
-- The days of a model over all its versions; latencies in milliseconds.
select
    answered.day as day, answered.predictions as predictions, answered.requests as requests,
    answered.probability as probability, answered.latency[1] as p50_ms,
    answered.latency[2] as p95_ms, answered.latency[3] as p99_ms, told.accuracy as accuracy
from (
    select
        day, sum(days.predictions) as predictions, sum(days.requests) as requests,
        sum(days.predictions * days.probability) / sum(days.predictions) as probability,
        quantilesTDigestMerge(0.5, 0.95, 0.99)(latency_ms) as latency
    from (
        select * from model_performance_daily final
        where model = {model:String} and day between {first:Date} and {last:Date}
    ) as days
    group by day
) as answered
left join (
    select day, toNullable(avg(is_correct)) as accuracy
    from prediction_outcomes
    where model = {model:String} and day between {first:Date} and {last:Date}
    group by day
) as told using (day)
order by day

-- name: unlike_hours
-- Days that are not what their hours are now: a quantile of a day lies between those of its hours.
select
    hours.day as day, hours.model as model, hours.version as version, hours.predictions as in_hours,
    hours.least_ms as least_ms, hours.most_ms as most_ms,
    days.predictions as predictions, days.p95_ms as p95_ms
from (
    select
        toDate(hour, 'UTC') as day, model, version, sum(predictions) as predictions,
        min(finalizeAggregation(latency_ms)[2]) as least_ms,
        max(finalizeAggregation(latency_ms)[2]) as most_ms
    from model_performance_hourly final
    where hour >= toDateTime({first:Date}, 'UTC') and hour < toDateTime({last:Date} + 1, 'UTC')
    group by day, model, version
) as hours
left join (
    select day, model, version, predictions, finalizeAggregation(latency_ms)[2] as p95_ms
    from model_performance_daily final
    where day between {first:Date} and {last:Date}
) as days using (day, model, version)
where predictions != in_hours or p95_ms < least_ms - 0.001 or p95_ms > most_ms + 0.001
order by day, model, version

-- name: search_quality
-- By day and generation: each metric of what answers, and of each index.
select day, generation_id, is_served, method, metric, value, measured_at
from search_quality_daily final
where day between {first:Date} and {last:Date}
order by day, generation_id, method, metric

-- name: hourly
-- By hour and model version; latencies in milliseconds.
select
    hour, model, version, predictions, requests, probability,
    finalizeAggregation(latency_ms)[1] as p50_ms,
    finalizeAggregation(latency_ms)[2] as p95_ms,
    finalizeAggregation(latency_ms)[3] as p99_ms
from model_performance_hourly final
where hour >= {begin:DateTime} and hour < {end:DateTime}
order by hour, model, version

-- name: hourly_by_model
-- By hour and model, over all its versions. What was true is told later than an hour is computed.
select hour, model, answered.predictions, answered.probability, answered.p95_ms, told.accuracy
from (
    select
        hour,
        model,
        sum(hourly.predictions) as predictions,
        sum(hourly.predictions * hourly.probability) / sum(hourly.predictions) as probability,
        quantilesTDigestMerge(0.5, 0.95, 0.99)(latency_ms)[2] as p95_ms
    from (
        select * from model_performance_hourly final
        where hour >= {begin:DateTime} and hour < {end:DateTime}
    ) as hourly
    group by hour, model
) as answered
left join (
    select toStartOfHour(at) as hour, model, toNullable(avg(is_correct)) as accuracy
    from prediction_outcomes
    where at >= {begin:DateTime} and at < {end:DateTime}
    group by hour, model
) as told using (hour, model)
order by model, hour

-- name: answers_by_span
-- By model and span of seconds, how it answered, and how right it was where that is known.
select model, begin, answered.predictions, answered.probability, answered.p95_ms, told.known, told.accuracy
from (
    select
        model,
        toDateTime(intDiv(toUnixTimestamp(at), {seconds:UInt32}) * {seconds:UInt32}, 'UTC') as begin,
        count() as predictions,
        avg(probability) as probability,
        quantileTDigest(0.95)(latency_ms) as p95_ms
    from prediction_log final
    where day >= toDate({begin:DateTime}) - 1 and at >= {begin:DateTime} and at < {end:DateTime} and model != ''
        and ({version:Nullable(UInt32)} is null or version = {version:Nullable(UInt32)})
    group by model, begin
) as answered
left join (
    select
        model,
        toDateTime(intDiv(toUnixTimestamp(at), {seconds:UInt32}) * {seconds:UInt32}, 'UTC') as begin,
        count() as known,
        toNullable(avg(is_correct)) as accuracy
    from prediction_outcomes
    where at >= {begin:DateTime} and at < {end:DateTime}
        and ({version:Nullable(UInt32)} is null or version = {version:Nullable(UInt32)})
    group by model, begin
) as told using (model, begin)
order by model, begin

-- name: anomalies_by_day
-- By model and day on which it answered, how much was out of the ordinary.
select model, day, judged.found
from (
    select distinct model, toDate(hour) as day from model_performance_hourly final where hour >= {first:Date}
) as answered
left join (
    select model, day, count() as found from anomalies where day >= {first:Date} group by model, day
) as judged using (model, day)
order by model, day

-- name: forget_anomalies
alter table anomalies delete where day between {first:Date} and {last:Date}
settings mutations_sync = 2

-- name: anomalies
select day, model, metric, kind, began_at, ended_at, score, value, expected
from anomalies
where day between {first:Date} and {last:Date}
order by day, model, metric, kind, began_at

-- name: table_sizes
select table, sum(rows), sum(bytes_on_disk)
from system.parts
where active and database = currentDatabase()
group by table
order by table

-- name: metric_points
-- What was answered on the days of a span of time, a point for each request, and what was told of it by now; how the
-- service was, a point for each minute, and the latencies of a minute spread over it. Times in microseconds.
select
    metric, arrayMap(each -> each.1, sorted) as times, arrayMap(each -> each.2, sorted) as values,
    model, version, release, route, host, process
from (
    select
        metric, arraySort(groupArray((micros, value))) as sorted, model, version, release, route, host, process
    from (
        select
            point.1 as metric, micros, point.2 as value, model, toString(version) as version,
            toString(release_id) as release, '' as route, '' as host, '' as process
        from (
            select
                model, version, release_id, toUnixTimestamp64Micro(max(log.at)) as micros,
                max(latency_ms) as latency, avg(probability) as mean_probability
            from prediction_log as log final
            where day >= toDate({begin:DateTime}) and day < toDate({end:DateTime})
            group by request_id, model, version, release_id
        )
        array join [
            ('prediction_latency_ms', latency), ('prediction_probability', mean_probability)
        ] as point
        union all
        select
            'prediction_correct', toUnixTimestamp64Micro(max(outcome.at)), avg(is_correct), model,
            toString(version), toString(release_id), '', '', ''
        from prediction_outcomes as outcome
        where outcome.at >= {begin:DateTime} and outcome.at < {end:DateTime}
            or told_at >= {begin:DateTime} and told_at < {end:DateTime}
        group by request_id, model, version, release_id
        union all
        select
            'service_' || point.1, toUnixTimestamp64Micro(log.at), assumeNotNull(point.2), '', '',
            if(release_id = 0, '', toString(release_id)), route, host, toString(process)
        from request_log as log final
        array join [
            ('requests', toFloat64(requests)), ('errors', toFloat64(errors)), ('cpu_percent', cpu_percent),
            ('memory_mib', memory_mib), ('gpu_percent', gpu_percent), ('gpu_memory_mib', gpu_memory_mib)
        ] as point
        where point.2 is not null and day >= toDate({begin:DateTime}) and day < toDate({end:DateTime})
        union all
        select
            'service_latency_ms',
            toUnixTimestamp64Micro(log.at) + intDiv(60000000 * (place - 1), length(latencies_ms)), latency, '', '',
            if(release_id = 0, '', toString(release_id)), route, host, toString(process)
        from request_log as log final
        array join latencies_ms as latency, arrayEnumerate(latencies_ms) as place
        where day >= toDate({begin:DateTime}) and day < toDate({end:DateTime})
    )
    group by metric, model, version, release, route, host, process
)
