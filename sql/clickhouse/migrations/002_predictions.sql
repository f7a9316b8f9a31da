-- What was predicted, and what was true. A row is named by its place in the spool: one that is
-- written again replaces itself. Read with `final`. What was inserted is on the disk before the
-- spool forgets it.
create table if not exists prediction_log (
    day Date,
    writer String,
    sequence UInt64,
    at DateTime64(6, 'UTC'),
    request_id String,
    position UInt32,
    release_id Nullable(UInt32),
    model LowCardinality(String),
    version UInt32,
    text_hash String,
    text Nullable(String),
    label String,
    probability Float64,
    probabilities Map(String, Float64),
    features Map(String, Nullable(Float64)),
    latency_ms Float64
) engine = ReplacingMergeTree
partition by toYYYYMM(day)
order by (day, writer, sequence)
settings fsync_after_insert = 1, fsync_part_directory = 1;

-- `label` is empty where only `correct` was told.
create table if not exists prediction_feedback (
    day Date,
    writer String,
    sequence UInt64,
    at DateTime64(6, 'UTC'),
    request_id String,
    position UInt32,
    label String,
    correct Nullable(Bool),
    caller String
) engine = ReplacingMergeTree
partition by toYYYYMM(day)
order by (day, writer, sequence)
settings fsync_after_insert = 1, fsync_part_directory = 1;

-- Each prediction of which something is known: the last feedback counts, and of a request id that
-- was used again the last prediction. That it was right tells the label, that it was wrong does not.
create or replace view prediction_outcomes as
select
    predicted.*,
    told.told_at as told_at,
    multiIf(told.told_label != '', told.told_label, told.told_correct = true, predicted.label, '')
        as true_label,
    if(told.told_label != '', told.told_label = predicted.label, told.told_correct = true)
        as is_correct,
    if(
        true_label = '',
        null,
        -log(greatest(1e-15, predicted.probabilities[true_label]))
    ) as log_loss
from (
    select * from prediction_log final
    order by at desc
    limit 1 by request_id, position
) as predicted
inner join (
    select
        request_id,
        position,
        max(at) as told_at,
        argMax(label, (at, writer, sequence)) as told_label,
        argMax(correct, (at, writer, sequence)) as told_correct
    from prediction_feedback final
    group by request_id, position
) as told using (request_id, position);
