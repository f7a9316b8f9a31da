"""The data checks of vectors, and nothing else: counts, norms, and agreement with float32."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from ml_assets.documents.chunkers import followed_chunkers
from ml_assets.embeddings.space import VectorSpace
from ml_assets.problem import Problem
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from pgvector import HalfVector

    from ml_assets.embeddings.encoder import Encoder

SAMPLE = 8
"""So many of all vectors are encoded again, and of the newest the tenth part: two to so many."""

NORM_TOLERANCE = 1e-3
"""Half precision keeps 11 bits: the norm of a unit vector is off by about 1e-4."""


def unmatched(connection: postgres.Connection, space: VectorSpace) -> list[Problem]:
    """The ways in which chunks and vectors fail to match one to one."""
    bound = {"space_id": space.space_id, "chunkers": followed_chunkers(connection)}
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
    """The worst cosine of sampled vectors to those of float32; 1 without any vector."""

    worst_cosine: float
    worst_chunk: str
    sampled: int


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

    `load` gives the float32 encoder. A sample that the last measurement had, of the same text and
    vector, is not encoded again: weights and tokenizer are those of the space, so its cosine cannot
    have moved.
    """
    bound = {"space_id": space.space_id, "size": SAMPLE}
    with connection.cursor(row_factory=class_row(_Stored)) as cursor:
        rows = cursor.execute(statement("postgres/embeddings/sample_texts"), bound).fetchall()
    sample = {_digest(row): row for row in rows}
    known: dict[str, float] = {}
    for (last,) in connection.execute(
        "select fidelity -> 'cosines' from embedding_spaces where space_id = %(space_id)s", bound
    ):
        known = last or {}
    new = [digest for digest in sample if digest not in known]
    cosines = {digest: known[digest] for digest in sample if digest in known}
    if new:
        exact = load().encode([sample[digest].text for digest in new])
        for digest, expected in zip(new, exact, strict=True):
            vector = sample[digest].embedding.to_numpy().astype("float32")
            norm = float(vector @ vector) ** 0.5
            cosines[digest] = float(vector @ expected) / norm if norm else 0.0
    worst_cosine, worst_chunk = min(
        ((cosines[digest], row.chunk_id) for digest, row in sample.items()), default=(1.0, "")
    )
    fidelity = Fidelity(worst_cosine, worst_chunk, len(rows))
    measured = Jsonb({**asdict(fidelity), "cosines": cosines})
    connection.execute(
        "update embedding_spaces set fidelity = %(measured)s"
        " where space_id = %(space_id)s and fidelity is distinct from %(measured)s",
        {"measured": measured, "space_id": space.space_id},
    )
    return fidelity


def _digest(row: _Stored) -> str:
    """A hash over the text and the vector that is stored of it."""
    return hashlib.sha256(
        row.text.encode() + b"\0" + row.embedding.to_numpy().tobytes()
    ).hexdigest()
