"""Where a model comes from: its training set as a file with lineage, its environment, its owner."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from ml_assets.errors import NothingToDoError
from ml_assets.stores import duckdb, mlflow, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.model import SPLITS, TrainingSet

if TYPE_CHECKING:
    from types import ModuleType

    import pyarrow as pa

FILE = "training_set.parquet"
ENVIRONMENT = "environment.json"

_LONGEST_DIGEST = 36
"""Characters that MLflow takes of the digest of a data set."""

_LINEAGE = {"document_id": "string", "collection": "string", "content_hash": "string"}


def log_training_set(
    connection: postgres.Connection,
    open_duck: duckdb.Opener,
    module: ModuleType,
    training_set: TrainingSet,
) -> mlflow.Dataset:
    """Put a training set among the artifacts of the active run; return it as an input of runs.

    The file has the rows with their lineage, as `with_lineage` makes them. DuckDB keeps the run
    that has it, and its sha256.

    Raises:
        NothingToDoError: documents changed since the training set was frozen.
    """
    table = with_lineage(connection, training_set)
    content = as_parquet(table)
    run_id, digest = module.active_run().info.run_id, hashlib.sha256(content).hexdigest()
    mlflow.log_run_file(module, run_id, FILE, content)
    with open_duck() as duck:
        duck.execute(
            "insert or replace into training_set_files values (?, ?, ?)",
            [training_set.hash, run_id, digest],
        )
    splits = {str(each): int((training_set.rows["split"] == each).sum()) for each in SPLITS}
    return mlflow.Dataset(
        name="training_set",
        # Not the hash of the set, which leaves label times out: equal records are equal files.
        digest=digest[:_LONGEST_DIGEST],
        run_id=run_id,
        file=FILE,
        columns={field.name: str(field.type) for field in table.schema},
        profile={"hash": training_set.hash, "rows": table.num_rows, "sha256": digest, **splits},
    )


def log_provenance(
    module: ModuleType, run_id: str, dataset: mlflow.Dataset, owner: str, description: str
) -> None:
    """Tell a run what it was trained on, in which environment, by whom, and what it is."""
    mlflow.log_dataset(module, run_id, dataset)
    content = json.dumps(environment(), indent=1).encode()
    mlflow.log_run_file(module, run_id, ENVIRONMENT, content)
    client = module.MlflowClient()
    client.set_tag(run_id, "owner", owner)
    client.set_tag(run_id, "mlflow.note.content", description)


def environment() -> dict[str, object]:
    """What decides a training beside code and data: Python, the machine, and the libraries."""
    needed = [text for text in requires("ml-assets") or [] if "extra ==" not in text]
    names = {re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in needed}
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": os.cpu_count(),
        "libraries": {name: _version(name) for name in sorted({"ml-assets", *names})},
    }


def _version(name: str) -> str:
    """Some systems install libraries without saying so where Python looks: no training fails."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def file_of(duck: duckdb.Connection, training_set_hash: str) -> tuple[str, str] | None:
    """The MLflow run that has the file of a training set, and the file's sha256."""
    query = "select run_id, sha256 from training_set_files where hash = ?"
    row = duck.execute(query, [training_set_hash]).fetchone()
    return (row[0], row[1]) if row else None


def with_lineage(connection: postgres.Connection, training_set: TrainingSet) -> pa.Table:
    """The rows of a training set, and what each was made from.

    To the columns of the rows it adds `collection`, `content_hash` (sha256 of all that the document
    says, in hex) and `chunk_ids`, in the order of the text.

    Raises:
        NothingToDoError: documents left since the training set was frozen.
    """
    import pyarrow as pa

    rows = training_set.rows
    bound = {"document_ids": rows["document_id"].tolist()}
    found = connection.execute(statement("postgres/training/lineage"), bound).fetchall()
    if [row[0] for row in found] != bound["document_ids"]:
        raise NothingToDoError(
            f"{len(rows) - len(found)} of its {len(rows)} documents left since it was frozen",
            where=f"training set {training_set.hash}",
            do="Materialize training_set again",
        )
    lineage = duckdb.arrow_table([row[:3] for row in found], _LINEAGE)
    lineage = lineage.append_column("chunk_ids", pa.array([row[3] for row in found]))
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata()
    for place, name in enumerate(("collection", "content_hash", "chunk_ids"), start=1):
        table = table.add_column(place, name, lineage[name])
    return table


def as_parquet(table: pa.Table) -> bytes:
    """A table as a file; the same rows give the same bytes."""
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
