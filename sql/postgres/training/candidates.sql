select run_id, training_set_hash, family, fingerprint, parameters, metrics, model_uri
from experiments
where training_set_hash = %(hash)s and fingerprint = any(%(fingerprints)s)
order by family
