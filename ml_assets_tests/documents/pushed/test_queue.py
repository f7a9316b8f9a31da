"""Pushed documents: accepted or refused as a whole, read beside the source, told by a ticket."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ml_assets.documents.model import Document
from ml_assets.documents.pushed.queue import push, pushed_document, read_ticket, withdraw
from ml_assets.documents.pushed.source import WithPushed
from ml_assets.documents.refresh import refresh_documents
from ml_assets.documents.sources.base import MAX_COLLECTIONS
from ml_assets.errors import NothingToDoError, SourceError
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import MemorySource

OWN = [Document("own", "notes", "Of the source.")]
NEW = {"id": "new", "text": "About  bread.\r\n", "collection": "pushed", "metadata": {"year": 2026}}


@pytest.fixture
def source(postgres_url: str, settings: Settings) -> WithPushed:
    return WithPushed(
        MemorySource(OWN), load_settings(home=settings.home, postgres_url=postgres_url)
    )


def refresh(connection: postgres.Connection, source: WithPushed) -> None:
    names = {*source.collections(), "pushed", "notes"}
    refresh_documents(connection, source, names, max_removed_fraction=1.0)


def states(connection: postgres.Connection, ticket: object) -> dict[str, str]:
    return {each.document_id: each.state for each in read_ticket(connection, ticket)}  # type: ignore[arg-type]


def live(connection: postgres.Connection) -> set[str]:
    rows = connection.execute("select document_id from documents where deleted_at is null")
    return {name for (name,) in rows}


def test_a_pushed_document_is_read_beside_the_source(
    connection: postgres.Connection, source: WithPushed
) -> None:
    before = source.stamp(), source.collections()
    assert before[1].keys() == {"notes"}
    document = pushed_document(NEW, 1000)
    ticket = push(connection, [document], "ann")
    assert states(connection, ticket) == {"new": "queued"}
    assert source.stamp() != before[0]
    assert source.collections().keys() == {"notes", "pushed"}
    assert source.collections()["notes"] == before[1]["notes"]
    assert list(source.read(["pushed"])) == [document]
    refresh(connection, source)
    assert live(connection) == {"own", "new"}
    assert states(connection, ticket) == {"new": "read"}
    again = push(connection, [replace(document, text="Other words.")], "ann")
    assert states(connection, ticket) == {"new": "replaced"}
    assert states(connection, again) == {"new": "queued"}
    refresh(connection, source)
    assert states(connection, again) == {"new": "read"}
    withdraw(connection, "new")
    assert states(connection, again) == {"new": "withdrawn"}
    refresh(connection, source)
    assert live(connection) == {"own"}
    with pytest.raises(NothingToDoError, match="nobody pushed"):
        withdraw(connection, "new")


def test_a_collection_of_both_holds_those_of_both(
    connection: postgres.Connection, source: WithPushed
) -> None:
    fingerprint = source.collections()["notes"]
    push(connection, [pushed_document({**NEW, "collection": "notes"}, 1000)], "ann")
    assert source.collections().keys() == {"notes"}
    assert source.collections()["notes"] != fingerprint
    refresh(connection, source)
    assert live(connection) == {"own", "new"}


def test_all_are_accepted_or_none(connection: postgres.Connection, source: WithPushed) -> None:
    refresh(connection, source)
    new, own = pushed_document(NEW, 1000), pushed_document({**NEW, "id": "own"}, 1000)
    with pytest.raises(SourceError, match="source of the deployment has a document 'own'"):
        push(connection, [new, own], "ann")
    with pytest.raises(SourceError, match="twice"):
        push(connection, [new, new], "ann")
    many = [replace(new, document_id=f"d{n}", collection=f"c{n}") for n in range(MAX_COLLECTIONS)]
    with pytest.raises(SourceError, match="more than 64 collections"):
        push(connection, many, "ann")
    push(connection, many[1:], "ann")
    assert connection.execute("select count(*) from push_tickets").fetchone() == (1,)
    assert connection.execute("select count(*) from pushed_documents").fetchone() == (63,)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"text": " \n"}, "no text"),
        ({"text": "x" * 2000}, "more than ML_ASSETS_MAX_DOCUMENT_BYTES=1000"),
        ({"id": "a\nb"}, "control character"),
        ({"collection": "a/b"}, "path separator"),
        ({"collection": ""}, "collection is empty"),
        ({"metadata": {"title": "x"}}, "cannot be named 'title'"),
        ({"metadata": "x"}, "no object"),
        ({"metadata": {"k": "x" * 20_000}}, "metadata k has 20000 characters"),
        ({"created_at": "yesterday"}, "not a date"),
    ],
)
def test_what_cannot_be_a_document_is_said(changed: dict[str, object], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        pushed_document({**NEW, **changed}, 1000)


def test_a_ticket_that_there_is_not_is_told(connection: postgres.Connection) -> None:
    from uuid import uuid4

    with pytest.raises(NothingToDoError, match="no ticket"):
        read_ticket(connection, uuid4())


def test_without_a_home_nothing_is_opened_or_made(tmp_path: Path) -> None:
    source = WithPushed(MemorySource(OWN), load_settings(home=tmp_path / "none"))
    assert source.collections() == MemorySource(OWN).collections()
    assert source.stamp() == MemorySource(OWN).stamp()
    assert list(source.read(["notes"])) == OWN
    assert not (tmp_path / "none").exists()


VALUES = st.one_of(
    st.text(max_size=20),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(min_size=1, max_size=50),
    metadata=st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=3),
)
def test_what_is_read_is_what_was_pushed(
    connection: postgres.Connection,
    source: WithPushed,
    text: str,
    metadata: dict[str, object],
) -> None:
    """Every number and letter: the hash of what is read tells whether a run has it."""
    try:
        document = pushed_document({**NEW, "text": text, "metadata": metadata}, 1000)
    except SourceError:
        return
    push(connection, [document], "ann")
    assert list(source.read(["pushed"])) == [document]
