"""Artifacts of MLflow, in the home or on a tracking server: training sets, examples, cards.

A training set loses its rows, and a text the words. What a server has is fetched, written anew and
put in its place, whoever keeps the files for it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_assets.errors import StoreError
from ml_assets.operations.copying import remove
from ml_assets.operations.erasure.stores.files import Writer, erase_traces
from ml_assets.operations.erasure.subject import Place, Removed, Subject
from ml_assets.operations.erasure.wording import ERASED, wording_of
from ml_assets.settings import secret
from ml_assets.stores import duckdb, mlflow
from ml_assets.stores.folders import folder as make_folder
from ml_assets.stores.folders import write_whole
from ml_assets.stores.sql import statement
from ml_assets.training.provenance import FILE

_FETCHED = "mlflow_fetched"
"""In the home, while it is worked on: what a tracking server has."""

_HERE = "they were written anew"
_SERVER = "they were written anew, and fetched again; versions that its storage keeps are not shown"


def erase(place: Place, subject: Subject) -> list[Removed]:
    """Erase rows by document, and texts such as an example of an input, a card or a tag.

    Raises:
        StoreError: the tracking server does not answer, or keeps a file as it was.
    """
    if not (uri := secret(place.settings.mlflow_tracking_uri)):
        files = _erase_files(place, place.home / mlflow.FOLDER, subject)
        return [Removed("MLflow", "files", len(files), _HERE)]
    where = mlflow.tracking(uri, None, place.home)
    _, artifacts = mlflow.artifacts_of(where)
    with _fetched(place, where, artifacts) as folder:
        files = _erase_files(place, folder, subject)
        for file in files:
            _replace(where, artifacts, folder, file)
    texts = mlflow.rewrite_texts(where, wording_of(subject).without)
    return [
        Removed("MLflow", "files", len(files), _SERVER),
        Removed("MLflow", "tags and descriptions", texts, "they were set anew"),
    ]


def _erase_files(place: Place, folder: Path, subject: Subject) -> list[Path]:
    """Write the files of a folder anew that have something; return those."""

    def write(file: Path, content: bytes) -> None:
        # The hash first: who is killed in between finds the file once more, and writes the same.
        _rehash(place, file.relative_to(folder), content)
        write_whole(file, content)

    changed = [file for file in folder.rglob("*.parquet") if _erase_rows(file, subject, write)]
    return changed + erase_traces(folder, subject, wording_of(subject), write)


@contextmanager
def _fetched(place: Place, where: mlflow.Tracking, artifacts: Any) -> Iterator[Path]:
    """All artifacts that a server has, in a folder as that of an embedded home."""
    folder = place.home / _FETCHED
    remove(folder)  # of one that was killed
    make_folder(folder)
    try:
        with mlflow.explained(where, "its artifacts cannot be fetched"):
            if artifacts.list_artifacts():
                artifacts.download_artifacts("", dst_path=str(folder))
        yield folder
    finally:
        remove(folder)


def _replace(where: mlflow.Tracking, artifacts: Any, folder: Path, file: Path) -> None:
    """Put a file in the place of the one that the server has, and see that it is there."""
    name = file.relative_to(folder)
    with mlflow.explained(where, f"{name} cannot be replaced"):
        artifacts.log_artifact(str(file), name.parent.as_posix())
        written = file.read_bytes()
        there = Path(artifacts.download_artifacts(name.as_posix(), dst_path=str(folder)))
    if there.read_bytes() != written:
        raise StoreError(
            f"it keeps {name} as it was",
            where="MLFLOW_TRACKING_URI",
            do="Let it replace artifacts, or remove that one there; then forget again",
        )


def _erase_rows(file: Path, subject: Subject, write: Writer) -> bool:
    """Write a training set, or answers to one, anew without the documents; False: it has none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    if "document_id" not in table.column_names:
        return False
    ids = pa.array(subject.documents, pa.string())
    kept = table.filter(pc.invert(pc.is_in(table["document_id"], value_set=ids)))
    # A group of near duplicates has the name of one of them.
    if "group_id" in kept.column_names:
        groups = kept["group_id"]
        named = pc.if_else(pc.is_in(groups, value_set=ids), ERASED, groups)
        place = kept.column_names.index("group_id")
        kept = kept.set_column(place, "group_id", named)
    if kept.equals(table):
        return False
    new = io.BytesIO()
    pq.write_table(kept, new, compression="zstd")
    write(file, new.getvalue())
    return True


def _rehash(place: Place, path: Path, content: bytes) -> None:
    """Keep the hash and the size of a file that is written anew, by which a change is seen."""
    digest = hashlib.sha256(content).hexdigest()
    bound = {"path": path.as_posix(), "sha256": digest, "bytes": len(content)}
    place.connection.execute(statement("postgres/training/rehash_file"), bound)
    if path.name == FILE and place.settings.duckdb_file.exists():
        run_id = path.parts[0]
        with duckdb.connect(place.settings.duckdb_file) as duck:
            query = "update training_set_files set sha256 = ? where run_id = ?"
            duck.execute(query, [digest, run_id])
