"""The data checks of documents and chunks, and nothing else: counts that are 0 when all is well."""

from __future__ import annotations

from psycopg.rows import class_row

from ml_assets.documents.model import Rejected
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

COMPARED = 1_000
"""Documents whose chunks are compared with their text because they changed last, or at random."""


def count_identities(connection: postgres.Connection) -> dict[str, int]:
    """Documents, those with an empty id, and those whose id stands twice."""
    return postgres.read_counts(connection, statement("postgres/documents/count_identities"))


def count_rejected(connection: postgres.Connection) -> tuple[int, list[str]]:
    """How many rows were quarantined, and `location: reason` of the first five."""
    with connection.cursor(row_factory=class_row(Rejected)) as cursor:
        rows = cursor.execute(statement("postgres/documents/rejected")).fetchall()
    return len(rows), [f"{row.location}: {row.reason}" for row in rows[:5]]


def count_uncovered(connection: postgres.Connection) -> dict[str, int]:
    """Live documents without chunks, chunks of no live document, chunks unlike their text.

    Texts are compared for at least `COMPARED` documents: those that changed last, and random ones.
    """
    query = statement("postgres/documents/count_uncovered")
    return postgres.read_counts(connection, query, {"compared": COMPARED})
