-- Two runs can train the same family at once; the first to finish stays.
insert into experiments
    (run_id, training_set_hash, family, fingerprint, parameters, metrics, history, model_uri)
values (
    %(run_id)s, %(hash)s, %(family)s, %(fingerprint)s, %(parameters)s, %(metrics)s, %(history)s,
    %(model_uri)s
)
on conflict (training_set_hash, family, fingerprint) do nothing
