"""The data checks of documents and chunks, and nothing else: problems, none when all is well."""

from __future__ import annotations

from psycopg.rows import class_row

from ml_assets.documents.model import Rejected
from ml_assets.problem import Problem
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

COMPARED = 1_000
"""Documents whose content is compared because they changed last, and as many at random."""


def read_rejected(connection: postgres.Connection, most: int) -> tuple[list[Rejected], int]:
    """The first `most` quarantined rows, by their place in the source, and the number of all."""
    counts = postgres.read_counts(connection, "select count(*) as rows from rejected_documents")
    with connection.cursor(row_factory=class_row(Rejected)) as cursor:
        rows = cursor.execute(statement("postgres/documents/rejected"), {"most": most}).fetchall()
    return rows, counts["rows"]


def damaged_documents(connection: postgres.Connection, *, whole: bool = False) -> list[Problem]:
    """Empty ids, documents that another hand added, removed or changed since they were read.

    Contents are compared for at least `COMPARED` documents: those that changed last, and random
    ones; for all if `whole` is asked.
    """
    return postgres.read_problems(connection, "postgres/documents/damaged_documents", _size(whole))


def damaged_rejections(connection: postgres.Connection, *, whole: bool = False) -> list[Problem]:
    """Quarantined rows that another hand added, removed or changed since they were written.

    `COMPARED` random ones are compared; all if `whole` is asked.
    """
    return postgres.read_problems(connection, "postgres/documents/damaged_rejections", _size(whole))


def damaged_chunks(connection: postgres.Connection, *, whole: bool = False) -> list[Problem]:
    """Documents without their chunks, chunks without document, and chunks unlike their text.

    Texts are compared as those of `damaged_documents` are.
    """
    return postgres.read_problems(connection, "postgres/documents/damaged_chunks", _size(whole))


def forget_damaged(connection: postgres.Connection) -> None:
    """Have what another hand changed read and cut again by the next run."""
    connection.execute(statement("postgres/documents/forget_damaged"))
    connection.execute(statement("postgres/documents/forget_damaged_rejections"))
    connection.execute(statement("postgres/documents/forget_damaged_chunks"))


def _size(whole: bool) -> dict[str, int | None]:
    return {"compared": None if whole else COMPARED}
