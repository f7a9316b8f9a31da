-- The rows of a training set; the features as a list, in the order of $features.
select
    document_id, label, group_id, split, label_time, text_hash,
    list_transform($features::varchar[], lambda name: features[name]) as feature_values
from training_sets
where hash = $hash
order by document_id
