"""Runs of training: their metrics, their files, and the end of those left running by the dead."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time
from types import ModuleType

from ml_assets.errors import ModelError, first_line
from ml_assets.stores.mlflow.client import EXPERIMENT, activate
from ml_assets.stores.mlflow.location import Tracking
from ml_assets.stores.mlflow.refusals import explained


def log_steps(mlflow: ModuleType, run_id: str, steps: Sequence[tuple[int, str, float]]) -> None:
    """Log (step, metric, value) rows to a run, in the batches that a server takes."""
    now = int(time() * 1000)
    rows = [mlflow.entities.Metric(name, value, now, step) for step, name, value in steps]
    client = mlflow.MlflowClient()
    for start in range(0, len(rows), 1000):
        client.log_batch(run_id, metrics=rows[start : start + 1000])


def log_run_file(mlflow: ModuleType, run_id: str, name: str, content: bytes) -> None:
    """Put a file among the artifacts of a run."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / name
        file.write_bytes(content)
        mlflow.MlflowClient().log_artifact(run_id, str(file))


def read_run_file(where: Tracking, run_id: str, name: str) -> bytes:
    """Read a file that `log_run_file` put among the artifacts of a run.

    Raises:
        ModelError: it is not there.
        StoreError: MLflow does not answer.
    """
    try:
        if where.artifacts:
            return (where.artifacts / run_id / "artifacts" / name).read_bytes()
        mlflow = activate(where)
        with tempfile.TemporaryDirectory() as scratch, explained(where):
            client = mlflow.MlflowClient()
            if name not in {file.path for file in client.list_artifacts(run_id)}:
                raise FileNotFoundError("MLflow does not have it")
            return Path(client.download_artifacts(run_id, name, scratch)).read_bytes()
    except OSError as error:
        raise ModelError(
            f"the file cannot be read ({first_line(error)})",
            where=f"MLflow run {run_id}, {name}",
            do="Run `ml-assets run`, which trains it again, or restore a backup",
        ) from None


def end_abandoned(where: Tracking, is_over: Callable[[str], bool]) -> None:
    """End the runs that a Dagster run which `is_over` left running, and those nested in them.

    Raises:
        StoreError: MLflow does not answer.
    """
    mlflow = activate(where)
    client = mlflow.MlflowClient()
    with explained(where, "runs that were left running cannot be ended"):
        experiment = mlflow.get_experiment_by_name(EXPERIMENT)
        running = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
        for run in running:
            parent = run.data.tags.get("mlflow.parentRunId")
            opened = client.get_run(parent) if parent else run
            if is_over(opened.data.tags.get("dagster_run_id", "")):
                client.set_terminated(run.info.run_id, "KILLED")
