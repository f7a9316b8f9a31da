"""MLflow: runs, models and the registry; a tracking server by URL, else a PostgreSQL database.

Models are saved in the skops format, and read back against our own list of types: nothing is ever
unpickled, whatever an artifact says about itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.abc import MetaPathFinder
from importlib.metadata import version
from pathlib import Path
from time import time
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg

from ml_assets.errors import ModelError, OutageError, StoreError, chain, first_line
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets.stores.folders import folder
from ml_assets.stores.patience import until_it_answers
from ml_assets.stores.processes import run_program
from ml_assets.stores.sql import statement
from ml_assets.stores.web import ask

if TYPE_CHECKING:
    from pandas import DataFrame

EXPERIMENT = "ml_assets"
"""The experiment of all runs."""

FOLDER = "mlflow_artifacts"
_SCHEME = "ml-assets"
LOCATION = f"{_SCHEME}:/"
"""Of the artifacts in our folder, in MLflow's records: wherever the home lies, it lies there."""

_DOWN = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
_REFUSED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
_REQUIREMENTS = ("scikit-learn", "skops", "numpy", "scipy", "pandas")
_MODEL_FILE = "model.skops"
_SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # "View run … at …", in the middle of our own lines.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The default waits for minutes before it says that a server is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where MLflow keeps its runs, and our folder of artifacts; None: the server decides."""

    uri: str
    artifacts: Path | None = None


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
    artifacts = folder(home / FOLDER)
    # MLflow brings psycopg2, and would take any other driver that SQLAlchemy prefers.
    return Tracking("postgresql+psycopg2://" + url.split("://", 1)[1], artifacts)


def activate(where: Tracking) -> ModuleType:
    """Import mlflow, point it to `where`, make sure of the experiment, and return the module."""
    mlflow = _import()
    # Else the next deployment of this process would take it for a setting.
    setting = mlflow.environment_variables.MLFLOW_TRACKING_URI
    before = setting.get_raw()
    mlflow.set_tracking_uri(where.uri)
    setting.set(before) if before else setting.unset()
    mlflow.set_registry_uri(where.uri)
    if where.artifacts:
        from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry

        repository = partial(home_artifacts, folder=where.artifacts)
        _artifact_repository_registry.register(_SCHEME, repository)  # type: ignore[no-untyped-call]
    experiment = until_it_answers(partial(_experiment, mlflow, where))
    with told(where):
        if experiment is None:
            location = LOCATION if where.artifacts else None
            with _existing_is_fine(mlflow):
                mlflow.create_experiment(EXPERIMENT, artifact_location=location)
        elif experiment.lifecycle_stage == "deleted":
            mlflow.MlflowClient().restore_experiment(experiment.experiment_id)
        elif where.artifacts and experiment.artifact_location != LOCATION:
            with psycopg.connect(_database(where)) as connection:
                move_artifacts(connection, experiment.artifact_location, LOCATION)
        mlflow.set_experiment(EXPERIMENT)
    return mlflow


def _experiment(mlflow: ModuleType, where: Tracking) -> Any:
    with told(where):
        return mlflow.get_experiment_by_name(EXPERIMENT)


@contextmanager
def told(where: Tracking, what: str = "") -> Iterator[None]:
    """Tell in one line `what` MLflow, or what is below it, did not do in the block, and why."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (MlflowException, DBAPIError, RequestException) as error:
        place, server = "MLFLOW_TRACKING_URI", "the tracking server is up and the URL is right"
        if where.artifacts:
            place, server = "MLflow's own database, mlflow in PostgreSQL", "PostgreSQL is up"
        reason = f"{what}: {_reason(error)}".removeprefix(": ")
        if getattr(error, "error_code", "") in _REFUSED:
            do = "Check user and password: in the URL, or MLFLOW_TRACKING_USERNAME and _PASSWORD"
            raise StoreError(reason, where=place, do=do) from None
        if _is_outage(error):
            raise OutageError(reason, where=place, do=f"Check that {server}") from None
        do = "Look at its records: somebody changed them, or another version of MLflow did"
        raise StoreError(reason, where=place, do=do) from None


def _is_outage(error: Exception) -> bool:
    """Whether the network, the database, or a server that says so about itself is in trouble.

    MLflow gives its own mistakes, on this side of the network, the code of a broken server.
    """
    from mlflow.exceptions import MlflowException, RestException
    from sqlalchemy.exc import DBAPIError
    from urllib3.exceptions import HTTPError

    if not isinstance(error, MlflowException):
        return True
    if error.error_code != "INTERNAL_ERROR" or isinstance(error, RestException):
        return error.error_code in _DOWN
    return any(isinstance(each, OSError | HTTPError | DBAPIError) for each in chain(error))


def serve(postgres_url: str | None, home: Path, port: int) -> int:
    """Serve the pages of MLflow on 127.0.0.1 until they are ended; return the exit code."""
    where = tracking(None, postgres_url, home)
    environment = {
        **_SWITCHES,
        "MLFLOW_BACKEND_STORE_URI": where.uri,  # no list of processes shows its password
        "ML_ASSETS_HOME": str(home),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    words = ["-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    return run_program([sys.executable, *words], environment)


def end_abandoned(where: Tracking, is_over: Callable[[str], bool]) -> None:
    """End the runs that a Dagster run which `is_over` left running, and those nested in them.

    Raises:
        StoreError: MLflow does not answer.
    """
    mlflow = activate(where)
    client = mlflow.MlflowClient()
    with told(where, "runs that were left running cannot be ended"):
        experiment = mlflow.get_experiment_by_name(EXPERIMENT)
        running = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
        for run in running:
            parent = run.data.tags.get("mlflow.parentRunId")
            opened = client.get_run(parent) if parent else run
            if is_over(opened.data.tags.get("dagster_run_id", "")):
                client.set_terminated(run.info.run_id, "KILLED")


def _reason(error: Exception) -> str:
    """What went wrong; of the network in its own words, not in those of all libraries above it."""
    from urllib3.exceptions import HTTPError

    *_, root = chain(error)
    if isinstance(root, OSError | HTTPError):
        return f"it does not answer ({getattr(root, 'strerror', None) or root})"
    return first_line(error)


def log_model(
    mlflow: ModuleType, model: Any, inputs: DataFrame, labels: Sequence[str], trusted: Sequence[str]
) -> str:
    """Save `model` with the active run and return its URI.

    The signature is from `inputs` to one of `labels`; the first line of `inputs` is the example.
    """
    from numpy import asarray

    _import_skops()
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
        ModelError: the artifact is missing, damaged, in another format, or holds another type.
    """
    skops_io = _import_skops()
    with _file(where, uri, _MODEL_FILE) as file:
        return skops_io.load(file, trusted=list(trusted))


def log_file(mlflow: ModuleType, uri: str, name: str, content: bytes) -> None:
    """Put a file beside the model at `uri`, which `log_model` returned."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / name
        file.write_bytes(content)
        mlflow.MlflowClient().log_model_artifact(_model_id(uri), str(file))


def read_file(where: Tracking, uri: str, name: str, sha256: str) -> bytes:
    """Read a file that `log_file` put beside the model at `uri`.

    Raises:
        ModelError: the file is missing, or its content is not that of `sha256`.
    """
    with _file(where, uri, name) as file:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"its sha256 is not the recorded {sha256[:12]}…")
    return content


def has_model(where: Tracking, uri: str, files: Mapping[str, str]) -> bool:
    """Whether a model is there and sound, with the `files` beside it: names with their sha256.

    What a server holds is not read: that it is there must do.
    """
    if where.artifacts is None:
        return {_MODEL_FILE, *files} <= _listed(where, uri)
    try:
        for name, sha256 in files.items():
            read_file(where, uri, name, sha256)
        with _file(where, uri, _MODEL_FILE) as file, zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except ModelError:
        return False


def hash_files(where: Tracking, uri: str, run_id: str) -> dict[str, str]:
    """The sha256 of each file of a model and of its run, by its path in our folder of artifacts.

    What a server holds is not read: none.
    """
    if where.artifacts is None:
        return {}
    folders = (where.artifacts / "models" / _model_id(uri), where.artifacts / run_id)
    return {
        file.relative_to(where.artifacts).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@contextmanager
def _file(where: Tracking, uri: str, name: str) -> Iterator[Path]:
    """A file of the model at `uri`: in our folder, or else a copy.

    mlflow, which is slow to import, is asked only for the copy. A file that the block finds missing
    or unsound is told.
    """
    try:
        if where.artifacts:
            yield where.artifacts / "models" / _model_id(uri) / "artifacts" / name
        else:
            with tempfile.TemporaryDirectory() as scratch:
                yield _download(where, uri, name, Path(scratch))
    # A type that is not trusted is a TypeError.
    except (OSError, TypeError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"the model cannot be loaded ({first_line(error)})",
            where=f"{uri}/{name}",
            do="Run `ml-assets run`, which trains it again, or restore a backup",
        ) from None


def _download(where: Tracking, uri: str, name: str, folder: Path) -> Path:
    if name not in _listed(where, uri):
        raise FileNotFoundError("MLflow does not have it")
    mlflow = activate(where)
    with told(where):
        location = mlflow.MlflowClient().get_logged_model(_model_id(uri)).artifact_location
        return Path(mlflow.artifacts.download_artifacts(f"{location}/{name}", dst_path=str(folder)))


def _listed(where: Tracking, uri: str) -> set[str]:
    """The files of a model on a server; none where the server does not know it."""
    mlflow = activate(where)
    with told(where):
        try:
            listed = mlflow.MlflowClient().list_logged_model_artifacts(_model_id(uri))
            return {file.path for file in listed}
        except mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return set()


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
    where: Tracking, name: str, uri: str, run_id: str, tags: Mapping[str, str]
) -> int:
    """Register the model at `uri` as a version of `name`, if it is none; return its number.

    Raises:
        StoreError: MLflow does not answer, or does not have the model.
    """
    mlflow = activate(where)
    client = mlflow.MlflowClient()
    with told(where, f"{uri} cannot be registered"):
        versions = client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
        for registered in versions:
            if registered.source == uri:
                return int(registered.version)
        with _existing_is_fine(mlflow):
            client.create_registered_model(name)
        model = _model_id(uri)
        created = client.create_model_version(name, uri, run_id, tags=dict(tags), model_id=model)
        return int(created.version)


def read_aliases(where: Tracking, name: str) -> dict[str, str]:
    """The URI of the model that every alias of a registered model names; none where it is gone.

    mlflow stays out where the store is ours: to import it would take longer than all else of a run
    that finds the aliases in their places.
    """
    if where.artifacts is None:
        client = activate(where).MlflowClient()
        with told(where):
            return {
                alias: client.get_model_version(name, version).source
                for model in client.search_registered_models(f"name='{name}'")
                for alias, version in model.aliases.items()
            }
    with psycopg.connect(_database(where)) as connection:
        (table,) = connection.execute("select to_regclass('registered_model_aliases')").fetchall()
        if table == (None,):
            return {}
        return dict(connection.execute(statement("postgres/stores/aliases"), [name]).fetchall())


def mark(uri: str, name: str) -> str:
    """What a server tells of a registered model: versions, aliases, and the files of their models.

    mlflow is not imported, and no model is read.

    Raises:
        OutageError: it does not answer.
    """
    told = ask(uri, f"api/2.0/mlflow/registered-models/get?name={name}").decode()
    models = sorted(set(re.findall(r'"models:/([\w-]+)"', told)))
    files = [ask(uri, f"api/2.0/mlflow/logged-models/{m}/artifacts/directories") for m in models]
    return repr((told, files))


def set_alias(where: Tracking, name: str, alias: str, version: int | None) -> None:
    """Let an alias of a registered model name a version, or nothing."""
    mlflow = activate(where)
    client = mlflow.MlflowClient()
    with told(where, f"alias {alias}"):
        if version is None:
            client.delete_registered_model_alias(name, alias)
        else:
            client.set_registered_model_alias(name, alias, str(version))


def artifacts_of(where: Tracking) -> tuple[str, Any]:
    """Where a server has the artifacts of our experiment, and what reads and writes them there."""
    mlflow = activate(where)
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with told(where):
        location = str(mlflow.get_experiment_by_name(EXPERIMENT).artifact_location)
        return location, get_artifact_repository(location)


def created_at(where: Tracking) -> int:
    """When our experiment was made, in milliseconds: a server and its database agree on it."""
    mlflow = activate(where)
    with told(where):
        return int(mlflow.get_experiment_by_name(EXPERIMENT).creation_time)


def move_artifacts(connection: psycopg.Connection, old: str, new: str) -> None:
    """Write another location into MLflow's records: the path of a folder, as old homes have it.

    Or that of a server, whose artifacts were copied.
    """
    connection.execute(statement("postgres/stores/move_artifacts"), {"old": old, "new": new})


def _database(where: Tracking) -> str:
    return where.uri.replace("+psycopg2", "", 1)


def home_artifacts(uri: str, *given: Any, folder: Path | None = None, **more: Any) -> Any:
    """What MLflow reads and writes artifacts of our scheme with: `folder`, else that of the home.

    MLflow's own programs, as `mlflow ui`, find it as an entry point.
    """
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    path = (folder or load_settings().home / FOLDER) / urlsplit(uri).path.lstrip("/")
    return LocalArtifactRepository(path.as_uri(), *given, **more)


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
        import mlflow.store.db.utils
    # Whether our PostgreSQL is up was asked just before: ten times more takes 100 s, and is told as
    # often. How often a server is asked is a switch.
    mlflow.store.db.utils.MAX_RETRY_COUNT = 1
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


@cache
def _import_skops() -> ModuleType:
    """Import `skops.io` without torch, which it gets with all of scikit-learn and never uses."""
    sys.meta_path.insert(0, _NoTorch)
    try:
        import skops.io
    finally:
        sys.meta_path.remove(_NoTorch)
    module: ModuleType = skops.io
    return module


class _NoTorch(MetaPathFinder):
    """An import of torch fails, as where it is not installed."""

    @classmethod
    def find_spec(cls, fullname: str, *_: object) -> None:
        if fullname == "torch":
            raise ModuleNotFoundError(fullname, name=fullname)


@contextmanager
def _existing_is_fine(mlflow: ModuleType) -> Iterator[None]:
    """Another process may be faster between a look and a creation."""
    try:
        yield
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
