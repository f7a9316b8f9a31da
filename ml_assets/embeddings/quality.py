"""The data checks of vectors, and nothing else: counts, norms, and agreement with float32."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from ml_assets.embeddings.space import VectorSpace
from ml_assets.problem import Problem
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from pgvector import HalfVector

    from ml_assets.embeddings.encoder import Encoder

SAMPLE = 8
"""So many of the newest vectors are encoded again, and so many of all."""

NORM_TOLERANCE = 1e-3
"""Half precision keeps 11 bits: the norm of a unit vector is off by about 1e-4."""


def unmatched(connection: postgres.Connection, space: VectorSpace) -> list[Problem]:
    """The ways in which chunks and vectors fail to match one to one."""
    bound = {"space_id": space.space_id}
    return postgres.read_problems(connection, "postgres/embeddings/unmatched", bound)


def altered_vectors(connection: postgres.Connection, space: VectorSpace) -> list[Problem]:
    """Vectors that another hand changed since they were encoded, or of another dimension."""
    bound = {"space_id": space.space_id, "dimension": space.dimension}
    return postgres.read_problems(connection, "postgres/embeddings/altered_vectors", bound)


def forget_altered(connection: postgres.Connection, space: VectorSpace) -> None:
    """Delete the vectors that another hand changed: the next run encodes their texts again."""
    bound = {
        "space_id": space.space_id,
        "least": 1 - NORM_TOLERANCE,
        "most": 1 + NORM_TOLERANCE,
    }
    connection.execute(statement("postgres/embeddings/forget_altered"), bound)


def measure_norms(connection: postgres.Connection, space: VectorSpace) -> tuple[float, float]:
    """The smallest and the largest norm of the space's vectors; (1, 1) without any."""
    query = statement("postgres/embeddings/measure_norms")
    with connection.cursor(row_factory=dict_row) as cursor:
        (row,) = cursor.execute(query, {"space_id": space.space_id}).fetchall()
    return row["smallest"], row["largest"]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The worst cosine of sampled vectors to those of float32; 1 without any vector.

    `state` is a hash over the sampled texts and vectors: same state, same cosine.
    """

    worst_cosine: float
    worst_chunk: str
    sampled: int
    state: str


@dataclass(frozen=True, slots=True)
class _Stored:
    """A chunk's text with the vector that is stored of it."""

    chunk_id: str
    text: str
    embedding: HalfVector


def measure_fidelity(
    connection: postgres.Connection, space: VectorSpace, load: Callable[[], Encoder]
) -> Fidelity:
    """Encode sampled texts again, in float32, and compare the stored vectors with that.

    `load` gives the float32 encoder; it is called only when the sample is not the last one's.
    """
    bound = {"space_id": space.space_id, "size": SAMPLE}
    with connection.cursor(row_factory=class_row(_Stored)) as cursor:
        rows = cursor.execute(statement("postgres/embeddings/sample_texts"), bound).fetchall()
    stored = [row.embedding.to_numpy().astype("float32") for row in rows]
    digest = hashlib.sha256()
    for row, vector in zip(rows, stored, strict=True):
        digest.update(f"{row.chunk_id}\0{row.text}\0".encode() + vector.tobytes())
    last = connection.execute(
        "select fidelity from embedding_spaces where space_id = %(space_id)s", bound
    ).fetchone()
    if last and last[0] and last[0]["state"] == digest.hexdigest():
        return Fidelity(**last[0])
    fidelity = Fidelity(1.0, "", len(rows), digest.hexdigest())
    if rows:
        exact = load().encode([row.text for row in rows])
        worst_cosine, worst_chunk = min(
            (float(vector @ expected) / float(vector @ vector) ** 0.5, row.chunk_id)
            for row, vector, expected in zip(rows, stored, exact, strict=True)
        )
        fidelity = replace(fidelity, worst_cosine=worst_cosine, worst_chunk=worst_chunk)
    connection.execute(
        "update embedding_spaces set fidelity = %s where space_id = %s",
        [Jsonb(asdict(fidelity)), space.space_id],
    )
    return fidelity
