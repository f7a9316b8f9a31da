"""The library, imported when it is needed and pointed to where runs are kept."""

from __future__ import annotations

import logging
import os
import warnings
from functools import cache, partial
from types import ModuleType
from typing import Any

from ml_assets.stores.mlflow.artifacts import LOCATION, SCHEME, home_artifacts, move_artifacts
from ml_assets.stores.mlflow.location import Tracking, records
from ml_assets.stores.mlflow.refusals import existing_is_fine, explained
from ml_assets.stores.patience import until_it_answers

EXPERIMENT = "ml_assets"
"""The experiment of all runs."""
SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # "View run … at …", in the middle of our own lines.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The default waits for minutes before it says that a server is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "GIT_PYTHON_REFRESH": "quiet",
}


def activate(where: Tracking) -> ModuleType:
    """Import mlflow, point it to `where`, make sure of the experiment, and return the module."""
    mlflow = import_mlflow()
    # Else the next deployment of this process would take it for a setting.
    setting = mlflow.environment_variables.MLFLOW_TRACKING_URI
    before = setting.get_raw()
    mlflow.set_tracking_uri(where.uri)
    setting.set(before) if before else setting.unset()
    mlflow.set_registry_uri(where.uri)
    if where.artifacts:
        from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry

        repository = partial(home_artifacts, folder=where.artifacts)
        _artifact_repository_registry.register(SCHEME, repository)  # type: ignore[no-untyped-call]
    experiment = until_it_answers(partial(_experiment, mlflow, where))
    with explained(where):
        if experiment is None:
            location = LOCATION if where.artifacts else None
            with existing_is_fine(mlflow):
                mlflow.create_experiment(EXPERIMENT, artifact_location=location)
        elif experiment.lifecycle_stage == "deleted":
            mlflow.MlflowClient().restore_experiment(experiment.experiment_id)
        elif where.artifacts and experiment.artifact_location != LOCATION:
            with records(where) as connection:
                move_artifacts(connection, experiment.artifact_location, LOCATION)
        mlflow.set_experiment(EXPERIMENT)
    return mlflow


def _experiment(mlflow: ModuleType, where: Tracking) -> Any:
    with explained(where):
        return mlflow.get_experiment_by_name(EXPERIMENT)


def artifacts_of(where: Tracking) -> tuple[str, Any]:
    """Where a server has the artifacts of our experiment, and what reads and writes them there."""
    mlflow = activate(where)
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with explained(where):
        location = str(mlflow.get_experiment_by_name(EXPERIMENT).artifact_location)
        return location, get_artifact_repository(location)


def created_at(where: Tracking) -> int:
    """When our experiment was made, in milliseconds: a server and its database agree on it."""
    mlflow = activate(where)
    with explained(where):
        return int(mlflow.get_experiment_by_name(EXPERIMENT).creation_time)


@cache
def import_mlflow() -> ModuleType:
    """Import mlflow once, quiet and with our switches."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # mlflow and what it imports warn about their own type hints and deprecations.
        warnings.simplefilter("ignore")
        import mlflow
        import mlflow.pyfunc
        import mlflow.sklearn
        import mlflow.store.db.utils
    # Whether our PostgreSQL is up was asked just before: ten times more takes long, and is told as
    # often. How often a server is asked is a switch.
    mlflow.store.db.utils.MAX_RETRY_COUNT = 1
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow
