insert into model_artifacts
    (model_name, version, run_id, uri, training_set_hash, space_id, seed, feature_views, metrics)
values (
    %(model_name)s, %(version)s, %(run_id)s, %(uri)s, %(training_set_hash)s, %(space_id)s,
    %(seed)s, %(feature_views)s, %(metrics)s
)
on conflict (model_name, version) do nothing
