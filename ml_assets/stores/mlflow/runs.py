"""Runs of training: their metrics, and the end of those that a dead process left running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time
from types import ModuleType

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
