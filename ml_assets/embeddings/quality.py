"""What the data tests of the vectors measure."""

from __future__ import annotations

from ml_assets.embeddings.space import VectorSpace
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

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
    row = postgres.run(
        connection, statement("postgres/embeddings/measure_norms"), {"space_id": space.space_id}
    ).fetchone()
    return (float(row[0]), float(row[1])) if row and row[0] is not None else (1.0, 1.0)
