"""Data sets that runs have as inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that lies as a `file` among the artifacts of the run `run_id`.

    `digest` has 36 characters at most, as MLflow takes it. `columns` are names with their types;
    `profile` are its numbers.
    """

    name: str
    digest: str
    run_id: str
    file: str
    columns: Mapping[str, str]
    profile: Mapping[str, str | int]


def log_dataset(mlflow: ModuleType, run_id: str, dataset: Dataset) -> None:
    """Tell a run that it was trained on `dataset`.

    By MLflow's own records, since its classes of data sets want the whole of it in memory, and
    know no source but their own.
    """
    client = mlflow.MlflowClient()
    source = f"{client.get_run(dataset.run_id).info.artifact_uri}/{dataset.file}"
    columns = [{"name": name, "type": kind} for name, kind in dataset.columns.items()]
    entity = mlflow.entities.Dataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type=source.partition(":")[0],
        source=json.dumps({"uri": source}),
        schema=json.dumps({"columns": columns}),
        profile=json.dumps(dict(dataset.profile)),
    )
    tag = mlflow.entities.InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, datasets=[mlflow.entities.DatasetInput(entity, [tag])])
