"""The data checks of documents and chunks, and nothing else: counts that are 0 when all is well."""

from __future__ import annotations

from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

COMPARED = 1_000
"""Documents whose chunks are compared with their text because they changed last, or at random."""


def count_identities(connection: postgres.Connection) -> dict[str, int]:
    """Documents, those with an empty id, and those whose id stands twice."""
    return postgres.read_counts(connection, statement("postgres/documents/count_identities"))


def count_rejected(connection: postgres.Connection, examples: int = 5) -> tuple[int, list[str]]:
    """How many rows were quarantined, and `location: reason` of the first few."""
    rows = connection.execute(
        "select location, reason from rejected_documents order by collection, location"
    ).fetchall()
    return len(rows), [f"{location}: {reason}" for location, reason in rows[:examples]]


def count_uncovered(connection: postgres.Connection) -> dict[str, int]:
    """Live documents without chunks, chunks of no live document, chunks unlike their text.

    Texts are compared for at least `COMPARED` documents: those that changed last, and random ones.
    """
    return postgres.read_counts(
        connection, statement("postgres/documents/count_uncovered"), {"compared": COMPARED}
    )
