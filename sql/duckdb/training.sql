-- name: current_build
select
    coalesce(hash, ''), space_id, seed, feature_views, features, left_out, unembedded, reason
from training_set_builds
order by build_id desc
limit 1

-- name: insert_build
insert into training_set_builds
    (hash, space_id, seed, feature_views, features, left_out, unembedded, reason)
values (
    nullif($hash, ''), $space_id, $seed, map($views, $fingerprints), $features,
    map($labels, $groups), $unembedded, $reason
)

-- name: labels_not_trained_on
select label
from training_sets
where hash = $hash
group by label
having count(*) filter (where split = 'train') = 0
order by label

-- name: rows
-- The rows of a training set; the features as a list, in the order of $features.
select
    document_id, label, group_id, split, label_time, text_hash,
    list_transform($features::varchar[], lambda name: features[name]) as feature_values
from training_sets
where hash = $hash
order by document_id

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
