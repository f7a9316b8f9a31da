-- name: insert_version
insert into model_versions
    (model_name, version, run_id, uri, training_set_hash, space_id, seed, feature_views, metrics)
values (
    %(name)s, %(version)s, %(run_id)s, %(served_uri)s, %(training_set_hash)s, %(space_id)s,
    %(seed)s, %(feature_views)s, %(metrics)s
)

-- name: model_version
select model_name as name, version, run_id, space_id, seed, feature_views, metrics
from model_versions
where model_name = %(model_name)s and version = %(version)s

-- name: points
-- Every metric of the versions that are not known yet, a version after the other.
select model_name as model, version, metric, value::float8 as value, created_at as at
from model_versions
cross join jsonb_each(metrics) as each (metric, value)
where concat(model_name, '/', version) <> all(%(known)s)
order by model_name, version

-- name: registered
-- The versions, the newest first.
select version, training_set_hash, created_at as registered_at
from model_versions
where model_name = %(model_name)s
order by version desc
limit %(most)s

-- name: mark_forgotten
-- Those that are marked already are told again.
with learned as (
    select version, documents
    from model_versions
    join unnest(%(hashes)s::text[], %(counts)s::int[]) as given (training_set_hash, documents) using (training_set_hash)
    where model_name = %(model_name)s
), marked as (
    insert into forgotten_in_models (model_name, version, request_id, documents)
    select %(model_name)s, version, %(request_id)s, documents from learned
    on conflict do nothing
)
select version from learned order by version

-- name: count_forgotten
select coalesce(sum(documents), 0)::int as documents
from forgotten_in_models
where model_name = %(model_name)s and version = %(version)s
