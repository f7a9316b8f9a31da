select model_name, version, metrics, created_at
from model_artifacts
order by model_name, version
