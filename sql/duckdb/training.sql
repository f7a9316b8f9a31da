-- name: build
-- The last build of a training set, all but its rows.
select {
    hash: hash, space_id: space_id, seed: seed, feature_views: feature_views, features: features,
    left_out: left_out, unembedded: unembedded, reason: reason
}
from training_set_builds
where hash = $hash
order by build_id desc
limit 1

-- name: current_build
select {
    hash: coalesce(hash, ''), space_id: space_id, seed: seed, feature_views: feature_views, features: features,
    left_out: left_out, unembedded: unembedded, reason: reason
}
from training_set_builds
order by build_id desc
limit 1

-- name: insert_build
insert into training_set_builds
    (hash, space_id, seed, feature_views, features, left_out, unembedded, reason)
values (nullif($hash, ''), $space_id, $seed, $feature_views, $features, $left_out, $unembedded, $reason)

-- name: insert_rows
-- Once for each hash; none of a set that cannot be trained on.
insert into training_sets by name
select $hash as hash, document_id, label, group_id, split, label_time, text_hash, map($names, [{values}]) as features
from frozen
where not exists (select 1 from training_sets where hash = $hash)

-- name: labels_not_trained_on
select label
from training_sets
where hash = $hash
group by label
having count(*) filter (where split = 'train') = 0
order by label

-- name: values_from_after
-- Documents of a training set, with values of another entity, that have them from no row of before: that was true when
-- they came to be, and known by then where the source tells it.
from frozen
anti join {table} as feature
    on feature.entity_id = frozen.entity_id
    and frozen.document_time {until} feature.event_time
    and (not $tells_when_known or feature.known_time <= frozen.document_time)
    and not feature.removed
    and {same}
select frozen.document_id
order by frozen.document_id

-- name: learned
-- The documents, and what was seen of them, that models of these training sets were fitted to, or chosen by.
select distinct document_id, text_hash
from training_sets
where hash in (select unnest($hashes)) and split <> 'test'

-- name: rows
-- The rows of a training set, with a column for each feature.
select document_id, label, group_id, split, label_time, text_hash, {values}
from training_sets
where hash = $hash
order by document_id

-- name: known_splits
-- Where a document was, or a text that it has, in earlier training sets of the seed.
select asked.document_id, history.split
from asked
join split_history as history on history.document_id = asked.document_id or history.text = asked.same_text
where history.seed = $seed

-- name: gone_splits
-- The texts of documents that are not in the training set any more.
select words, split
from split_history as history
anti join asked on asked.document_id = history.document_id
where seed = $seed and len(words) > 0
order by document_id, text

-- name: remember_splits
insert or replace into split_history by name
select $seed as seed, document_id, same_text as text, words, split
from asked

-- name: straddling_groups
select group_id
from training_sets
where hash = $hash
group by group_id
having count(distinct split) > 1
order by group_id

-- name: straddling_texts
select text_hash
from training_sets
where hash = $hash
group by text_hash
having count(distinct split) > 1
order by text_hash

-- name: trained_documents
-- Of a training set, or of all those that have a document.
select hash, document_id, label, split
from training_sets
where ($hash::varchar is null or hash = $hash) and ($document_id::varchar is null or document_id = $document_id)
order by hash, document_id

-- name: trained
-- What a training set has of these documents.
select document_id, label, text_hash
from training_sets
where hash = $hash and document_id in (select unnest($ids))

-- name: weakest_labels
-- The labels that a candidate answers worst on its test split: F1, and how many documents have them.
select
    label,
    max(value) filter (where metric = 'f1') as f1,
    max(value) filter (where metric = 'support')::bigint as documents
from experiment_performance
where run_id = ? and split = 'test' and label <> ''
group by label
order by f1, label
limit ?

-- name: summaries
-- The last candidates, the newest first: how good each is beside what it costs.
select
    run_id, family, training_set_hash, logged_at, macro_f1, accuracy, log_loss, calibration_error, fit_seconds,
    one_text_p50_ms, one_text_p95_ms, thousand_texts_p50_ms, thousand_texts_p95_ms, peak_memory_mib, model_bytes
from experiment_summary
where $family is null or family = $family
order by logged_at desc, run_id
limit $most

-- name: trends
-- Where each number of each family stands after its last training.
select family, metric, count(*) as trainings, arg_max(value, logged_at) as last,
    arg_max(moving_average, logged_at) as moving_average, arg_max(p5, logged_at) as p5,
    arg_max(p95, logged_at) as p95, arg_max(change, logged_at) as change
from experiment_trends
where $family is null or family = $family
group by family, metric
order by family, metric

-- name: training_sets_with
select hash, count(*) from training_sets where document_id in (select unnest($document_ids::varchar[])) group by hash
