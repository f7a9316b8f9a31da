"""One document, and why it is as it is: the entries of the append-only change log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import class_row, dict_row

from ml_assets.documents.model import Document, headings_of
from ml_assets.errors import NothingToDoError
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

IDS = "Ids are those of the source; `ml-assets search --json` shows them"


def read_document(connection: postgres.Connection, document_id: str) -> Document:
    """A live document.

    Raises:
        NothingToDoError: there is none of this id.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        query = statement("postgres/documents/read_document")
        row = cursor.execute(query, {"document_id": document_id}).fetchone()
    if row is None:
        raise NothingToDoError(f"there is no document {document_id!r}", do=IDS)
    return Document(**{**row, "headings": headings_of(row["headings"])})


class Excerpt(NamedTuple):
    """What a person recognizes a document by; the text is its beginning."""

    collection: str
    title: str
    text: str
    label: str | None


def read_excerpts(
    connection: postgres.Connection, document_ids: Sequence[str], characters: int = 240
) -> dict[str, Excerpt]:
    """Excerpts of the live ones of these documents, by id."""
    bound = {"document_ids": list(document_ids), "characters": characters}
    rows = connection.execute(statement("postgres/documents/excerpts"), bound).fetchall()
    return {name: Excerpt(*row) for name, *row in rows}


def read_history(connection: postgres.Connection, document_id: str) -> list[dict[str, Any]]:
    """The changes of one document with time and reason, oldest first; texts are not kept.

    Raises:
        NothingToDoError: no run ever saw a document of this id.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        query = statement("postgres/documents/history")
        rows = cursor.execute(query, {"document_id": document_id}).fetchall()
    if not rows:
        raise NothingToDoError(f"no run ever saw a document {document_id!r}", do=IDS)
    return rows


def chunk_ids(connection: postgres.Connection, document_id: str) -> list[str]:
    """The present chunks of a document, in order."""
    query = "select chunk_id from current_chunks where document_id = %s order by chunk_index"
    return [chunk for (chunk,) in connection.execute(query, [document_id])]


def count_of(
    connection: postgres.Connection, document_ids: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """How many of these documents are live, and how many chunks they have, by collection."""
    query = statement("postgres/documents/count_of")
    rows = connection.execute(query, {"document_ids": list(document_ids)}).fetchall()
    return {name: (documents, chunks) for name, documents, chunks in rows}


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence as the metadata of documents name it (None: they do not), with their times."""

    licence: str | None
    documents: int
    first: datetime | None
    last: datetime | None


def licences_of(connection: postgres.Connection, document_ids: Sequence[str]) -> list[Licence]:
    """The licences of the live ones of these documents, the most frequent first."""
    with connection.cursor(row_factory=class_row(Licence)) as cursor:
        bound = {"document_ids": list(document_ids)}
        return cursor.execute(statement("postgres/documents/licences_of"), bound).fetchall()


def log_changes(
    connection: postgres.Connection, stage: str, ids: list[str], reason: str, run_id: str | None
) -> None:
    """Log that a later stage makes these documents anew, for a reason that is not their last."""
    bound = {"stage": stage, "ids": ids, "reason": reason, "run_id": run_id}
    connection.execute(statement("postgres/documents/log_changes"), bound)


def last_change(connection: postgres.Connection) -> int:
    """The highest number of an entry: a cheap sign that documents changed, for what may be late."""
    ((last,),) = connection.execute("select coalesce(max(change_id), 0) from change_log").fetchall()
    return int(last)


def count_changes(connection: postgres.Connection) -> int:
    """Entries of the append-only change log: another number whenever a document changed."""
    text = statement("postgres/documents/count_changes")
    return postgres.read_counts(connection, text)["changes"]
