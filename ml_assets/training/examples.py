"""The examples of a training set: text, features and vectors, as a model sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.rows import dict_row

from ml_assets.errors import NothingToDoError
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement
from ml_assets.training.model import Examples, Split, TrainingSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame

TEXT = "text"
"""The input column that holds title and text, as what is embedded: title, line end, text."""


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """What a model sees of a document: text, and mean vector (not normalised); and their hash."""

    document_id: str
    text: str
    text_hash: str
    vector: NDArray[np.float32]


def read_seen(
    connection: postgres.Connection, space_id: str, document_ids: Sequence[str]
) -> list[Seen]:
    """Read what a model sees of live documents, by id; those without a vector are left out."""
    bound = {"space_id": space_id, "document_ids": list(document_ids)}
    with connection.cursor(binary=True, row_factory=dict_row) as cursor:
        rows = cursor.execute(statement("postgres/training/examples"), bound).fetchall()
    return [
        Seen(row["document_id"], row["seen"], row["text_hash"], row["embedding"].to_numpy())
        for row in rows
    ]


def read_examples(
    connection: postgres.Connection, training_set: TrainingSet, *splits: Split
) -> Examples:
    """Read the inputs of the rows of these splits, with vectors of the set's own space.

    Raises:
        NothingToDoError: documents changed since the training set was frozen.
    """
    from ml_assets.embeddings.quantization import unit

    rows = training_set.rows[training_set.rows["split"].isin(splits)]
    documents = read_seen(connection, training_set.space_id, rows["document_id"].tolist())
    present = {seen.document_id: seen.text_hash for seen in documents}
    expected = dict(zip(rows["document_id"], rows["text_hash"], strict=True))
    if present != expected:
        stale = sum(present.get(name) != text_hash for name, text_hash in expected.items())
        raise NothingToDoError(
            f"{stale} of its {len(expected)} documents changed since it was frozen",
            where=f"training set {training_set.hash}",
            do="Materialize training_set again",
        )
    inputs = model_inputs(
        [seen.text for seen in documents],
        {name: rows[name].to_numpy("float64") for name in training_set.features},
        unit([seen.vector for seen in documents]),
    )
    return Examples(inputs, rows["label"].to_numpy(dtype=object), tuple(expected))


def model_inputs(
    texts: Sequence[str], features: Mapping[str, NDArray[np.float64]], vectors: NDArray[np.float32]
) -> DataFrame:
    """Put texts, features and unit vectors (one line each) into the columns a model asks for."""
    import pandas as pd

    embedded = pd.DataFrame(vectors).add_prefix("e")
    wide = pd.DataFrame({TEXT: list(texts), **features})
    return pd.concat([wide, embedded], axis=1)
