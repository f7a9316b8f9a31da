"""MLflow: runs, models and the registry; a tracking server by URL, else a PostgreSQL database.

mlflow itself is imported where it is used. Not here: what a model is, or which one is served.
"""

from ml_assets.stores.mlflow.artifacts import FOLDER, LOCATION, home_artifacts, move_artifacts
from ml_assets.stores.mlflow.client import EXPERIMENT, activate, artifacts_of, created_at
from ml_assets.stores.mlflow.datasets import Dataset, log_dataset
from ml_assets.stores.mlflow.location import Tracking, tracking
from ml_assets.stores.mlflow.models import (
    file_sizes,
    has_model,
    hash_files,
    is_elsewhere,
    load_model,
    log_file,
    log_model,
    model_bytes,
    read_file,
)
from ml_assets.stores.mlflow.pages import serve
from ml_assets.stores.mlflow.refusals import explained
from ml_assets.stores.mlflow.registry import (
    describe_version,
    ensure_version,
    mark,
    read_aliases,
    rewrite_texts,
    set_alias,
)
from ml_assets.stores.mlflow.runs import end_abandoned, log_run_file, log_steps, read_run_file

__all__ = [
    "EXPERIMENT",
    "FOLDER",
    "LOCATION",
    "Dataset",
    "Tracking",
    "activate",
    "artifacts_of",
    "created_at",
    "describe_version",
    "end_abandoned",
    "ensure_version",
    "explained",
    "file_sizes",
    "has_model",
    "hash_files",
    "home_artifacts",
    "is_elsewhere",
    "load_model",
    "log_dataset",
    "log_file",
    "log_model",
    "log_run_file",
    "log_steps",
    "mark",
    "model_bytes",
    "move_artifacts",
    "read_aliases",
    "read_file",
    "read_run_file",
    "rewrite_texts",
    "serve",
    "set_alias",
    "tracking",
]
