-- name: erased_requests
-- What was predicted of texts that are forgotten: of which requests, and which text of each.
select distinct request_id, position from prediction_log where {erased} and model != ''

-- name: erased_days
-- The days with predictions that were erased.
select distinct day from prediction_log where model = '' order by day

-- name: count_log
select count() from prediction_log where {erased} or hasAny(mapKeys(probabilities), {labels:Array(String)})

-- name: count_feedback
select count() from prediction_feedback where {erased} or has({labels:Array(String)}, label)

-- name: keep_log
-- Of a prediction that is erased its place in the log is left: what is missing there was lost. No text is empty; and
-- what is null where it was a text keeps the text under the mask that says so.
insert into prediction_log_anew
select * except (is_erased) replace (
    if(is_erased, '', request_id) as request_id,
    if(is_erased, 0, position) as position,
    if(is_erased, null, release_id) as release_id,
    if(is_erased, '', model) as model,
    if(is_erased, 0, version) as version,
    if(is_erased, '', text_hash) as text_hash,
    nullIf(if(is_erased, '', text), '') as text,
    if(is_erased, '', label) as label,
    if(is_erased, 0, probability) as probability,
    if(is_erased, map(), mapFilter((name, _) -> not has({labels:Array(String)}, name), probabilities)) as probabilities,
    if(is_erased, map(), features) as features,
    if(is_erased, 0, latency_ms) as latency_ms
)
from (select *, {erased} as is_erased from prediction_log)

-- name: keep_feedback
insert into prediction_feedback_anew
select * except (is_erased) replace (
    if(is_erased, '', request_id) as request_id,
    if(is_erased, 1, position) as position, -- another than that of an erased prediction: they are no pair
    if(is_erased, '', label) as label,
    if(is_erased, null, correct) as correct,
    if(is_erased, '', caller) as caller
)
from (select *, {erased} or has({labels:Array(String)}, label) as is_erased from prediction_feedback)

-- name: keep_hourly
insert into model_performance_hourly_anew
select * from model_performance_hourly where toDate(hour, 'UTC') not in {days:Array(Date)}

-- name: keep_daily
insert into model_performance_daily_anew
select * from model_performance_daily where day not in {days:Array(Date)}
