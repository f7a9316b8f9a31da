"""The collections as they were read: their fingerprints, and what became of the last reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

GONE = ""
"""The fingerprint of a collection that the source no longer has."""

UNSETTLED = "written while it was read"
"""The fingerprint of a collection that must be read again: no source gives this one."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as it was last read; `read_error` and `failed_at` when that failed since."""

    collection: str
    source: str
    documents: int
    fingerprint: str
    refreshed_at: datetime
    read_error: str | None
    failed_at: datetime | None


def read_collections(connection: postgres.Connection) -> list[Collection]:
    """All collections that were ever read, by name."""
    with connection.cursor(row_factory=class_row(Collection)) as cursor:
        return cursor.execute(statement("postgres/documents/collections")).fetchall()


def collections_of(connection: postgres.Connection, document_ids: Sequence[str]) -> dict[str, str]:
    """The collection of each of these documents that is live, by its id."""
    query = (
        "select document_id, collection from documents"
        " where deleted_at is null and document_id = any(%s)"
    )
    return dict(connection.execute(query, [list(document_ids)]).fetchall())


def count_rows(connection: postgres.Connection) -> dict[str, int]:
    """How many collections, documents, tombstones, rejected rows and chunks there are."""
    return postgres.read_counts(connection, statement("postgres/documents/counts"))


def documents_version(connection: postgres.Connection) -> str:
    """A hash over the content of all live documents."""
    [(version,)] = connection.execute(statement("postgres/documents/version"))
    return str(version)


def changed_collections(stored: Iterable[Collection], present: Mapping[str, str]) -> list[str]:
    """The collections whose fingerprint differs from the `present` one, gone ones included.

    One that could not be read the last time is among them, whatever its fingerprint.
    """
    known = {row.collection: row.fingerprint for row in stored if row.read_error is None}
    names = {*present, *(row.collection for row in stored)}
    return sorted(name for name in names if known.get(name) != present.get(name, GONE))


def uncut_collections(connection: postgres.Connection, chunker: str) -> list[str]:
    """The collections whose chunks are behind their documents.

    Those of `chunker`, or of any that follows; all while another one is the current one.
    """
    query = statement("postgres/documents/uncut_collections")
    return [name for (name,) in connection.execute(query, {"chunker": chunker})]


def unread_collections(connection: postgres.Connection) -> dict[str, str]:
    """The collections that could not be read the last time, and why."""
    return {
        row.collection: row.read_error
        for row in read_collections(connection)
        if row.read_error is not None
    }


def read_anew(connection: postgres.Connection, collections: Sequence[str]) -> None:
    """Count what is left of these collections, and have the next run read them again."""
    bound = {"collections": list(collections)}
    connection.execute(statement("postgres/documents/read_anew"), bound)
    connection.execute(statement("postgres/documents/recount_rejections"))
