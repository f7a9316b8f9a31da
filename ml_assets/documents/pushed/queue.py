"""The queue of pushed documents: put into it, taken out of it, and what became of each.

Each document is kept here, as a source keeps its own; the runs read it (`source.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

from psycopg.rows import class_row
from psycopg.types.json import Json

from ml_assets.documents.formats.rows import ROLES, Columns, to_document
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import check_collection, content_hash
from ml_assets.documents.sources.base import MAX_COLLECTIONS
from ml_assets.errors import NothingToDoError, SourceError
from ml_assets.releases.forgotten import read_forgotten
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

State = Literal["queued", "rejected", "read", "replaced", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Pushed:
    """A document of a ticket.

    `read`: a run has it, whose chunks may still wait to be indexed; `replaced`: by a later push.
    """

    document_id: str
    state: State
    reason: str | None = None


def pushed_document(row: Mapping[str, object], max_bytes: int) -> Document:
    """Make a document of what was sent: `id`, `text`, `collection`, and what else there is.

    Raises:
        SourceError: it cannot be one.
    """
    metadata = row.get("metadata") or {}
    where = f"document {row.get('id')!r}"
    if not isinstance(metadata, Mapping):
        raise SourceError("metadata is no object", where=where, do="Send names with values")
    if own := {*ROLES, "collection"} & metadata.keys():
        what = f"metadata cannot be named {min(own)!r}"
        raise SourceError(what, where=where, do="Rename it, or send it beside")
    collection = str(row.get("collection", ""))
    columns = Columns({role: role for role in ROLES}, frozenset({"id"}), tuple(metadata))
    made = to_document({**row, **metadata}, columns, where, collection, max_bytes)
    wrong = made.reason if isinstance(made, Rejected) else check_collection(collection)
    if wrong or isinstance(made, Rejected):
        raise SourceError(str(wrong), where=where, do="Correct it, and send it again")
    return made


def push(connection: postgres.Connection, documents: Sequence[Document], actor: str) -> UUID:
    """Accept documents, all or none: what is returned is not lost. It is the ticket.

    Raises:
        SourceError: two have one id, the source of the deployment has the document, it was
            forgotten, or there would be too many collections.
    """
    ids = [document.document_id for document in documents]
    if len(set(ids)) < len(ids):
        raise SourceError("an id is given twice", where="documents", do="Send each once")
    ticket = uuid4()
    bound = {"ticket": ticket, "document_ids": ids, "pushed_by": actor}
    with connection.transaction():
        owned = connection.execute(statement("postgres/documents/owned_by_source"), bound)
        if row := owned.fetchone():
            raise SourceError(
                f"the source of the deployment has a document {row[0]!r}",
                where="documents",
                do="Change it there, or send it under another id",
            )
        _refuse_forgotten(connection, documents)
        _refuse_many(connection, {document.collection for document in documents})
        connection.execute(statement("postgres/documents/insert_ticket"), bound)
        with connection.cursor() as cursor:
            text = statement("postgres/documents/push_document")
            cursor.executemany(text, [_bound(document, ticket) for document in documents])
    return ticket


def withdraw(connection: postgres.Connection, document_id: str) -> None:
    """Take a pushed document back; the next run removes it everywhere.

    Raises:
        NothingToDoError: nobody pushed it.
    """
    query = "delete from pushed_documents where document_id = %s"
    if not connection.execute(query, [document_id]).rowcount:
        raise NothingToDoError(
            f"nobody pushed a document {document_id!r}", do="Remove it at its source"
        )


def read_ticket(connection: postgres.Connection, ticket: UUID) -> list[Pushed]:
    """What became of the documents of a ticket, by id.

    Raises:
        NothingToDoError: there is no such ticket.
    """
    with connection.cursor(row_factory=class_row(Pushed)) as cursor:
        query = statement("postgres/documents/ticket_states")
        states = cursor.execute(query, {"ticket": ticket}).fetchall()
    if not states:
        raise NothingToDoError(f"there is no ticket {ticket}", do="See the answer to the push")
    return states


def _bound(document: Document, ticket: UUID) -> dict[str, Any]:
    bound = asdict(document)
    bound |= {"metadata": Json(dict(document.metadata)), "content_hash": content_hash(document)}
    return {**bound, "ticket": ticket}


def _refuse_forgotten(connection: postgres.Connection, documents: Sequence[Document]) -> None:
    forgotten = read_forgotten(connection)
    for document in documents:
        if forgotten and forgotten.has(document.document_id, document.text):
            raise SourceError(
                f"{document.document_id!r}, or its text, was forgotten",
                where="documents",
                do="Send the others without it",
            )


def _refuse_many(connection: postgres.Connection, names: set[str]) -> None:
    rows = connection.execute(statement("postgres/documents/collections_with_pushed"))
    if len(names | {name for (name,) in rows}) > MAX_COLLECTIONS:
        raise SourceError(
            f"there would be more than {MAX_COLLECTIONS} collections",
            where="collection",
            do="Push into one that there is",
        )
