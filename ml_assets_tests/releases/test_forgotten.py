"""What was forgotten is known by salted hashes, and is not read again."""

from __future__ import annotations

import pytest

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.pushed.queue import push
from ml_assets.documents.refresh import refresh_documents
from ml_assets.errors import SourceError
from ml_assets.releases.forgotten import (
    REASON,
    complete,
    digest,
    read_forgotten,
    read_requests,
    remember,
)
from ml_assets.stores import postgres
from ml_assets_tests.fakes import MemorySource


def forget(connection: postgres.Connection, *ids: str, texts: tuple[str, ...] = ()) -> None:
    with connection.transaction():
        remember(connection, "r1", "ann", ids, texts)


def test_ids_and_texts_are_known_by_their_hashes(connection: postgres.Connection) -> None:
    assert not read_forgotten(connection)
    forget(connection, "a-1", texts=("It tells of ann.",))
    known = read_forgotten(connection)
    assert known.has("a-1", "another text")
    assert known.has("a-2", " it  TELLS\nof Ann.")
    assert not known.has("a-2", "It tells of bob.")
    assert not known.has("A-1", "")
    assert digest(known.salt, "id", "a-1") != digest(bytes(32), "id", "a-1")
    rows = connection.execute("select digest::text || request_id from forgotten").fetchall()
    assert not any("a-1" in row or "ann" in row for (row,) in rows)


def test_a_request_is_kept_until_it_is_completed(connection: postgres.Connection) -> None:
    forget(connection, "a-1", "a-2")
    forget(connection, "a-1", "a-2")
    (request,) = read_requests(connection)
    assert (request.actor, request.documents, request.completed_at) == ("ann", 2, None)
    complete(connection, "r1")
    (first,) = read_requests(connection)
    complete(connection, "r1")
    assert first.completed_at
    assert read_requests(connection) == [first]


def test_what_was_forgotten_is_rejected_with_its_place_and_without_its_id(
    connection: postgres.Connection,
) -> None:
    forget(connection, "a-1", "page-of-ann", texts=("It tells of ann.",))
    rows: list[Document | Rejected] = [
        Document("a-1", "notes", "Another text.", location="notes.jsonl line 1"),
        Document("a-2", "notes", "It tells of ann.", location="notes.jsonl line 2"),
        Document("a-3", "notes", "Of bob.", location="notes.jsonl line 3"),
        Document("page-of-ann", "notes", "Its own.", location="page-of-ann.md"),
        Rejected("notes", "notes.jsonl line 4", "the id 'a-1' is that of an earlier row", "a-1"),
        Rejected("notes", "notes.jsonl line 5", "no text", "a-5"),
    ]
    refresh_documents(connection, MemorySource(rows), ["notes"], max_removed_fraction=1)
    assert connection.execute("select document_id from documents").fetchall() == [("a-3",)]
    query = "select location, document_id, reason from rejected_documents order by location"
    rejected = connection.execute(query).fetchall()
    assert rejected[:4] == [
        ("notes.jsonl line 1", None, REASON),
        ("notes.jsonl line 2", None, REASON),
        ("notes.jsonl line 4", None, REASON),
        ("notes.jsonl line 5", "a-5", "no text"),
    ]
    ((place, document_id, _),) = rejected[4:]
    assert place.startswith("….md (")
    assert document_id is None


def test_what_was_forgotten_is_not_taken_into_the_queue(connection: postgres.Connection) -> None:
    forget(connection, "a-1")
    with pytest.raises(SourceError, match="'a-1', or its text, was forgotten"):
        push(connection, [Document("a-1", "notes", "Text.")], "ann")
    push(connection, [Document("a-2", "notes", "Text.")], "ann")


def test_an_id_that_reads_as_a_text_has_another_hash() -> None:
    assert digest(b"salt", "id", "a") != digest(b"salt", "text", "a")
