"""MLflow: runs, models and the registry; a tracking server by URL, else a PostgreSQL database.

Models are saved in the skops format, and read back against our own list of types: nothing is ever
unpickled, whatever an artifact says about itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from time import time
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psycopg

from ml_assets.errors import StoreError, first_line
from ml_assets.stores import postgres
from ml_assets.stores.folders import folder

if TYPE_CHECKING:
    from pandas import DataFrame

EXPERIMENT = "ml_assets"
"""The experiment of all runs."""

_REQUIREMENTS = ("scikit-learn", "skops", "numpy", "scipy", "pandas")
_MODEL_FILE = "model.skops"
_SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # The default waits for minutes before it says that a server is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where MLflow keeps its runs; `artifacts` is empty where the server decides."""

    uri: str
    artifacts: str = ""


def tracking(uri: str | None, postgres_url: str | None, home: Path) -> Tracking:
    """Return where runs are kept: `uri`, else a database beside ours; mlflow is not imported."""
    if uri:
        if "://" not in uri or uri.startswith("file:"):
            raise StoreError(
                "not a URL of a tracking server",
                where="MLFLOW_TRACKING_URI",
                do="Write http://host:5000",
            )
        return Tracking(uri)
    url = postgres.server_url(postgres_url, home, "mlflow")
    artifacts = folder(home / "mlflow_artifacts").as_uri()
    # MLflow brings psycopg2, and would take any other driver that SQLAlchemy prefers.
    return Tracking("postgresql+psycopg2://" + url.split("://", 1)[1], artifacts)


def activate(where: Tracking) -> ModuleType:
    """Import mlflow, point it to `where`, make sure of the experiment, and return the module."""
    mlflow = _import()
    mlflow.set_tracking_uri(where.uri)
    mlflow.set_registry_uri(where.uri)
    try:
        if mlflow.get_experiment_by_name(EXPERIMENT) is None:
            with _existing_is_fine(mlflow):
                mlflow.create_experiment(EXPERIMENT, artifact_location=where.artifacts or None)
        mlflow.set_experiment(EXPERIMENT)
    except mlflow.exceptions.MlflowException as error:
        raise _refusal(where, first_line(error)) from None
    return mlflow


def log_model(
    mlflow: ModuleType, model: Any, inputs: DataFrame, labels: Sequence[str], trusted: Sequence[str]
) -> str:
    """Save `model` with the active run and return its URI.

    The signature is from `inputs` to one of `labels`; the first line of `inputs` is the example.
    """
    from numpy import asarray

    info = mlflow.sklearn.log_model(
        model,
        name="model",
        serialization_format="skops",
        skops_trusted_types=list(trusted),
        signature=mlflow.models.infer_signature(inputs, asarray(labels, dtype=str)),
        input_example=inputs.head(1),
        # Given, because MLflow is slow to infer them.
        pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
    )
    return str(info.model_uri)


def load_model(where: Tracking, uri: str, trusted: Sequence[str]) -> Any:
    """Load a model that `log_model` saved, if it holds no type beyond skops' list and `trusted`.

    mlflow's own loader takes the list of trusted types from the artifact, and so is not used.

    Raises:
        StoreError: the artifact is missing, is in another format, or holds another type.
    """
    import skops.io

    with _downloaded(where, uri) as folder:
        return skops.io.load(folder / _MODEL_FILE, trusted=list(trusted))


def log_file(mlflow: ModuleType, uri: str, name: str, content: bytes) -> None:
    """Put a file beside the model at `uri`, which `log_model` returned."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / name
        file.write_bytes(content)
        mlflow.MlflowClient().log_model_artifact(_model_id(uri), str(file))


def read_file(where: Tracking, uri: str, name: str, sha256: str) -> bytes:
    """Read a file that `log_file` put beside the model at `uri`.

    Where the artifacts lie in a folder of ours, mlflow is not imported: that is slow.

    Raises:
        StoreError: the file is missing, or its content is not that of `sha256`.
    """
    folder = Path(unquote(urlsplit(where.artifacts).path), "models", _model_id(uri), "artifacts")
    if where.artifacts and (folder / name).exists():
        content = (folder / name).read_bytes()
    else:
        with _downloaded(where, uri, name) as file:
            content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(
            f"its sha256 is not the recorded {sha256[:12]}…: the file was altered or cut short",
            where=f"{uri}/{name}",
            do="Restore the artifact from a backup, or train and register the model again",
        )
    return content


@contextmanager
def _downloaded(where: Tracking, uri: str, name: str = "") -> Iterator[Path]:
    """A copy of the model at `uri`, or of a file beside it, for the block in which it is read."""
    mlflow = activate(where)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            artifact = uri
            if name:
                model = mlflow.MlflowClient().get_logged_model(_model_id(uri))
                artifact = f"{model.artifact_location}/{name}"
            yield Path(mlflow.artifacts.download_artifacts(artifact, dst_path=scratch))
        # A type that is not trusted is a TypeError.
        except (OSError, TypeError, mlflow.exceptions.MlflowException) as error:
            raise StoreError(
                f"the model cannot be loaded ({first_line(error)})",
                where=f"{uri}/{name}".rstrip("/"),
                do="Train and register it again",
            ) from None


def _model_id(uri: str) -> str:
    return uri.rpartition("/")[2]


def log_steps(mlflow: ModuleType, run_id: str, steps: Sequence[tuple[int, str, float]]) -> None:
    """Log (step, metric, value) rows to a run, in the batches that a server takes."""
    now = int(time() * 1000)
    rows = [mlflow.entities.Metric(name, value, now, step) for step, name, value in steps]
    client = mlflow.MlflowClient()
    for start in range(0, len(rows), 1000):
        client.log_batch(run_id, metrics=rows[start : start + 1000])


def ensure_version(
    mlflow: ModuleType, name: str, uri: str, run_id: str, tags: Mapping[str, str]
) -> int:
    """Register the model at `uri` as a version of `name`, once per run; return its number."""
    client = mlflow.MlflowClient()
    versions = client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
    if versions:
        return min(int(version.version) for version in versions)
    with _existing_is_fine(mlflow):
        client.create_registered_model(name)
    created = client.create_model_version(
        name, uri, run_id, tags=dict(tags), model_id=_model_id(uri)
    )
    return int(created.version)


def read_aliases(where: Tracking, name: str) -> dict[str, int]:
    """The version of every alias of a registered model; mlflow stays out where the store is ours.

    To import it would take longer than all else of a run that finds the aliases in their places.
    """
    if not where.artifacts:
        model = activate(where).MlflowClient().get_registered_model(name)
        return {alias: int(version) for alias, version in model.aliases.items()}
    with psycopg.connect(where.uri.replace("+psycopg2", "", 1)) as connection:
        (table,) = connection.execute("select to_regclass('registered_model_aliases')").fetchall()
        if table == (None,):
            return {}
        query = "select alias, version from registered_model_aliases where name = %s"
        return dict(connection.execute(query, [name]).fetchall())


def set_alias(where: Tracking, name: str, alias: str, version: int | None) -> None:
    """Let an alias of a registered model name a version, or nothing."""
    mlflow = activate(where)
    client = mlflow.MlflowClient()
    try:
        if version is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, str(version))
    except mlflow.exceptions.MlflowException as error:
        raise _refusal(where, f"alias {alias}: {first_line(error)}") from None


def _refusal(where: Tracking, what: str) -> StoreError:
    place, do = "MLFLOW_TRACKING_URI", "Check that the tracking server is up and the URL is right"
    if where.artifacts:
        place = "MLflow's own database, mlflow in PostgreSQL"
        do = "Check that PostgreSQL is up, or set MLFLOW_TRACKING_URI to a tracking server"
    return StoreError(what, where=place, do=do)


@cache
def _import() -> ModuleType:
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # mlflow and what it imports warn about their own type hints and deprecations.
        warnings.simplefilter("ignore")
        import mlflow
        import mlflow.pyfunc
        import mlflow.sklearn
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


@contextmanager
def _existing_is_fine(mlflow: ModuleType) -> Iterator[None]:
    """Another process may be faster between a look and a creation."""
    try:
        yield
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
