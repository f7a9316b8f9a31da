"""The answers of a candidate out of fold, as an artifact of its MLflow run."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_assets.stores import mlflow
from ml_assets.training.model import Candidate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "out_of_fold.parquet"
_LABELS = b"labels"


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What a candidate answers on the rows it learns from, by models that did not see their groups.

    A line per document of the splits train and validation, in the order of their ids: its id, the
    right answer, and probabilities of the shape (documents, labels), calibrated, float32.
    """

    document_ids: tuple[str, ...]
    truth: NDArray[np.object_]
    probabilities: NDArray[np.float32]
    labels: tuple[str, ...]


def to_parquet(answers: OutOfFold) -> bytes:
    """`document_id`, `label` and `probabilities`, a list in the order of the labels.

    The labels stand in the file's metadata, as JSON.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    flat = np.ascontiguousarray(answers.probabilities, dtype=np.float32).ravel()
    lists = pa.FixedSizeListArray.from_arrays(pa.array(flat), len(answers.labels))
    columns = {
        "document_id": pa.array(answers.document_ids, pa.string()),
        "label": pa.array(answers.truth.tolist(), pa.string()),
        "probabilities": lists.cast(pa.list_(pa.float32())),
    }
    table = pa.table(columns).replace_schema_metadata({_LABELS: json.dumps(answers.labels)})
    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def read_out_of_fold(where: mlflow.Tracking, candidate: Candidate) -> OutOfFold:
    """Read what was logged with a candidate.

    Raises:
        ModelError: the file is missing or damaged, or the candidate is from before it was logged.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    content = mlflow.read_run_file(where, candidate.run_id, FILE)
    table = parquet.read_table(pa.BufferReader(content))
    labels = json.loads(table.schema.metadata[_LABELS])
    lists = table["probabilities"].combine_chunks()
    flat = np.asarray(lists.flatten().to_numpy(zero_copy_only=False))
    return OutOfFold(
        tuple(table["document_id"].to_pylist()),
        np.array(table["label"].to_pylist(), dtype=object),
        flat.reshape(len(table), len(labels)),
        tuple(labels),
    )
