"""Models and the files beside them, saved with a run and read back.

Models are saved in the skops format, and read back against our own list of types: nothing is ever
unpickled, whatever an artifact says about itself.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from ml_assets.errors import ModelError, first_line
from ml_assets.stores.mlflow.client import activate
from ml_assets.stores.mlflow.location import Tracking
from ml_assets.stores.mlflow.refusals import explained

if TYPE_CHECKING:
    from pandas import DataFrame

_REQUIREMENTS = ("scikit-learn", "skops", "numpy", "scipy", "pandas")
_MODEL_FILE = "model.skops"


def log_model(
    mlflow: ModuleType, model: Any, inputs: DataFrame, labels: Sequence[str], trusted: Sequence[str]
) -> str:
    """Save `model` with the active run and return its URI.

    The signature is from `inputs` to one of `labels`; the first line of `inputs` is the example.
    """
    from numpy import asarray

    import_skops()

    def save_model(*, validate_serving_input: bool, **given: Any) -> None:
        mlflow.sklearn.save_model(**given)

    # As mlflow.sklearn's `log_model`, which loads each model again to try the example, as MLflow
    # would serve it: a fifth of a second of each, and a warning at most.
    info = mlflow.models.Model.log(
        artifact_path=None,
        flavor=SimpleNamespace(save_model=save_model, __name__="mlflow.sklearn"),
        name="model",
        sk_model=model,
        serialization_format="skops",
        skops_trusted_types=list(trusted),
        signature=mlflow.models.infer_signature(inputs, asarray(labels, dtype=str)),
        input_example=inputs.head(1),
        # Given, because MLflow is slow to infer them.
        pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
        validate_serving_input=False,
    )
    return str(info.model_uri)


def load_model(where: Tracking, uri: str, trusted: Sequence[str]) -> Any:
    """Load a model that `log_model` saved, if it holds no type beyond skops' list and `trusted`.

    mlflow's own loader takes the list of trusted types from the artifact, and so is not used.

    Raises:
        ModelError: the artifact is missing, damaged, in another format, or holds another type.
    """
    skops_io = import_skops()
    with _file(where, uri, _MODEL_FILE) as file:
        return skops_io.load(file, trusted=list(trusted))


def log_file(mlflow: ModuleType, uri: str, name: str, content: bytes) -> None:
    """Put a file beside the model at `uri`, which `log_model` returned."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / name
        file.write_bytes(content)
        mlflow.MlflowClient().log_model_artifact(model_id(uri), str(file))


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

    What a server holds is not read: that it is there must do. One in the home of another host is
    not here, and need not be lost: see `is_elsewhere`.
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


def hash_files(where: Tracking, uris: Sequence[str], run_id: str) -> dict[str, str]:
    """The sha256 of each file of a run and of its models, by its path in our folder of artifacts.

    What a server holds is not read: none.
    """
    if where.artifacts is None:
        return {}
    folders = [*(_model_folder(where.artifacts, uri) for uri in uris), where.artifacts / run_id]
    return {
        file.relative_to(where.artifacts).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def file_sizes(where: Tracking, uris: Sequence[str], run_id: str) -> dict[str, int]:
    """The bytes of each file of a run and of its models, by the path that `hash_files` gives it.

    A server tells them of the files, not of folders among them.

    Raises:
        StoreError: MLflow does not answer.
    """
    if folder := where.artifacts:
        folders = [*(_model_folder(folder, uri) for uri in uris), folder / run_id]
        files = [file for each in folders for file in each.rglob("*") if file.is_file()]
        return {file.relative_to(folder).as_posix(): file.stat().st_size for file in sorted(files)}
    client = activate(where).MlflowClient()
    with explained(where):
        listed = {f"models/{model_id(uri)}": _logged_files(client, uri) for uri in uris}
        listed[run_id] = client.list_artifacts(run_id)
    return {
        f"{folder}/artifacts/{file.path}": file.file_size
        for folder, files in listed.items()
        for file in files
        if not file.is_dir
    }


def model_bytes(where: Tracking, uri: str) -> int:
    """How large the file of a model is that `log_model` saved."""
    if folder := where.artifacts:
        return (_model_folder(folder, uri) / "artifacts" / _MODEL_FILE).stat().st_size
    client = activate(where).MlflowClient()
    with explained(where):
        sizes = {file.path: file.file_size for file in _logged_files(client, uri)}
    return int(sizes[_MODEL_FILE])


def is_elsewhere(where: Tracking, uri: str) -> bool:
    """Whether this home knows nothing of the model at `uri`, which may lie in that of another host.

    A folder that is lost looks the same.
    """
    folder = where.artifacts
    return where.shared and folder is not None and not _model_folder(folder, uri).exists()


def _model_folder(artifacts: Path, uri: str) -> Path:
    return artifacts / "models" / model_id(uri)


@contextmanager
def _file(where: Tracking, uri: str, name: str) -> Iterator[Path]:
    """A file of the model at `uri`: in our folder, or else a copy.

    mlflow, which is slow to import, is asked only for the copy. A file that the block finds missing
    or unsound is told.
    """
    try:
        if where.artifacts:
            yield _model_folder(where.artifacts, uri) / "artifacts" / name
        else:
            with tempfile.TemporaryDirectory() as scratch:
                yield _download(where, uri, name, Path(scratch))
    # A type that is not trusted is a TypeError.
    except (OSError, TypeError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
        if is_elsewhere(where, uri):
            raise ModelError(
                f"the model {uri} lies in the home of another host",
                where="MLFLOW_TRACKING_URI is not set",
                do="Ask there, or set it to a tracking server on every host and run"
                " `ml-assets run`; if that home is gone, `ml-assets repair` trains here",
            ) from None
        raise ModelError(
            f"the model cannot be loaded ({first_line(error)})",
            where=f"{uri}/{name}",
            do="Run `ml-assets run`, which trains it again, or restore a backup",
        ) from None


def _download(where: Tracking, uri: str, name: str, folder: Path) -> Path:
    if name not in _listed(where, uri):
        raise FileNotFoundError("MLflow does not have it")
    mlflow = activate(where)
    with explained(where):
        location = mlflow.MlflowClient().get_logged_model(model_id(uri)).artifact_location
        return Path(mlflow.artifacts.download_artifacts(f"{location}/{name}", dst_path=str(folder)))


def _listed(where: Tracking, uri: str) -> set[str]:
    """The files of a model on a server; none where the server does not know it."""
    mlflow = activate(where)
    with explained(where):
        try:
            return {file.path for file in _logged_files(mlflow.MlflowClient(), uri)}
        except mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return set()


def _logged_files(client: Any, uri: str) -> list[Any]:
    return list(client.list_logged_model_artifacts(model_id(uri)))


def model_id(uri: str) -> str:
    """The id in the URI of a model: `models:/m-1` is `m-1`."""
    return uri.rpartition("/")[2]


@cache
def import_skops() -> ModuleType:
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
