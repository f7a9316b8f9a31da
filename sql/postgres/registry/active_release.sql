select release_id, space_id, generation_id, feature_views, model_name, model_version
from releases
where active
