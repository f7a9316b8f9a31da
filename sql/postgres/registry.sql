-- name: insert_version
insert into model_artifacts
    (model_name, version, run_id, uri, training_set_hash, space_id, seed, feature_views, metrics)
values (
    %(name)s, %(version)s, %(run_id)s, %(uri)s, %(training_set_hash)s, %(space_id)s,
    %(seed)s, %(feature_views)s, %(metrics)s
)
on conflict (model_name, version) do nothing

-- name: model_version
select
    a.model_name as name, a.version, a.run_id, e.family, a.uri, a.training_set_hash, a.space_id,
    a.seed, a.feature_views, a.metrics
from model_artifacts as a
join experiments as e on e.run_id = a.run_id
where
    (%(run_id)s::text is null or a.run_id = %(run_id)s)
    and (%(version)s::integer is null or a.version = %(version)s)
    and a.model_name = %(model_name)s
order by a.version
limit 1
