-- The candidates of the newest training set.
select family, run_id, training_set_hash, metrics, created_at
from experiments
where training_set_hash = (select training_set_hash from experiments order by created_at desc limit 1)
order by family
