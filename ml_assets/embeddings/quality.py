"""The data checks of vectors, and nothing else: counts, norms, and agreement with float32."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from psycopg.types.json import Jsonb

from ml_assets.embeddings.space import VectorSpace
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from ml_assets.embeddings.encoder import Encoder

SAMPLE = 8
"""So many of the newest vectors are encoded again, and so many of all."""

NORM_TOLERANCE = 1e-3
"""Half precision keeps 11 bits: the norm of a unit vector is off by about 1e-4."""


def match_chunks(connection: postgres.Connection, space: VectorSpace) -> dict[str, int]:
    """Chunks, vectors, and the ways in which they fail to match one to one."""
    return postgres.read_counts(
        connection,
        statement("postgres/embeddings/match_chunks"),
        {"space_id": space.space_id, "dimension": space.dimension},
    )


def measure_norms(connection: postgres.Connection, space: VectorSpace) -> tuple[float, float]:
    """The smallest and the largest norm of the space's vectors; (1, 1) without any."""
    row = connection.execute(
        statement("postgres/embeddings/measure_norms"), {"space_id": space.space_id}
    ).fetchone()
    return (float(row[0]), float(row[1])) if row and row[0] is not None else (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The worst cosine of sampled vectors to those of float32; 1 without any vector.

    `state` is a hash over the sampled texts and vectors: same state, same cosine.
    """

    worst_cosine: float
    worst_chunk: str
    sampled: int
    state: str


def measure_fidelity(
    connection: postgres.Connection, space: VectorSpace, load: Callable[[], Encoder]
) -> Fidelity:
    """Encode sampled texts again, in float32, and compare the stored vectors with that.

    `load` gives the float32 encoder; it is called only when the sample is not the last one's.
    """
    bound = {"space_id": space.space_id, "size": SAMPLE}
    rows = connection.execute(statement("postgres/embeddings/sample_texts"), bound).fetchall()
    stored = [vector.to_numpy().astype("float32") for _, _, vector in rows]
    digest = hashlib.sha256()
    for (chunk_id, text, _), vector in zip(rows, stored, strict=True):
        digest.update(f"{chunk_id}\0{text}\0".encode() + vector.tobytes())
    last = connection.execute(
        "select fidelity from embedding_spaces where space_id = %(space_id)s", bound
    ).fetchone()
    if last and last[0] and last[0]["state"] == digest.hexdigest():
        return Fidelity(**last[0])
    fidelity = Fidelity(1.0, "", len(rows), digest.hexdigest())
    if rows:
        exact = load().encode([text for _, text, _ in rows])
        cosines = [
            (float(vector @ expected) / float(vector @ vector) ** 0.5, chunk_id)
            for (chunk_id, _, _), vector, expected in zip(rows, stored, exact, strict=True)
        ]
        worst_cosine, worst_chunk = min(cosines)
        fidelity = replace(fidelity, worst_cosine=worst_cosine, worst_chunk=worst_chunk)
    connection.execute(
        "update embedding_spaces set fidelity = %s where space_id = %s",
        [Jsonb(asdict(fidelity)), space.space_id],
    )
    return fidelity
