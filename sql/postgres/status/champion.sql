select r.model_name, r.model_version as version, e.family, m.metrics, r.actor, r.reason, r.created_at
from releases r
left join model_artifacts m on m.model_name = r.model_name and m.version = r.model_version
left join experiments e on e.run_id = m.run_id
where r.active
