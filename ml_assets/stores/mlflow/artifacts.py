"""Our folder of artifacts, which MLflow names by a scheme of ours wherever the home lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from ml_assets.settings import load_settings
from ml_assets.stores.sql import statement

FOLDER = "mlflow_artifacts"
SCHEME = "ml-assets"
LOCATION = f"{SCHEME}:/"
"""Of the artifacts in our folder, in MLflow's records: wherever the home lies, it lies there."""


def home_artifacts(uri: str, *given: Any, folder: Path | None = None, **more: Any) -> Any:
    """What MLflow reads and writes artifacts of our scheme with: `folder`, else that of the home.

    MLflow's own programs, as `mlflow ui`, find it as an entry point.
    """
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    path = (folder or load_settings().home / FOLDER) / urlsplit(uri).path.lstrip("/")
    return LocalArtifactRepository(path.as_uri(), *given, **more)


def move_artifacts(connection: psycopg.Connection, old: str, new: str) -> None:
    """Write another location into MLflow's records: the path of a folder, as old homes have it.

    Or that of a server, whose artifacts were copied.
    """
    connection.execute(statement("postgres/stores/move_artifacts"), {"old": old, "new": new})
