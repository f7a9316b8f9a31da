import re
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml_assets.delta import Delta
from ml_assets.documents import staging
from ml_assets.documents.chunking import Chunker
from ml_assets.documents.collections import (
    changed_collections,
    read_collections,
    unread_collections,
)
from ml_assets.documents.formats.rows import columns_from
from ml_assets.documents.history import read_document, read_history
from ml_assets.documents.model import Document, Heading, Rejected
from ml_assets.documents.refresh import (
    DocumentsReport,
    chunk_versions,
    refresh_chunks,
    refresh_documents,
)
from ml_assets.documents.sources import Source
from ml_assets.documents.sources.files import Files
from ml_assets.embeddings.space import current_model
from ml_assets.errors import SourceError
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import MemorySource, unplugged

CHUNKER = Chunker(current_model(load_settings()).tokenizer_file, 40, tokens=16, overlap=4)
LONG = "One two three four five. " * 10


def changed(connection: postgres.Connection, source: Source) -> list[str]:
    return changed_collections(read_collections(connection), source.collections())


def document(
    name: str, text: str = "Some text.", collection: str = "a", **more: object
) -> Document:
    return Document(name, collection, text, **more)  # type: ignore[arg-type]


def refresh(connection: postgres.Connection, source: MemorySource, **more: object) -> Delta:
    names = {*source.collections(), *changed(connection, source)}
    report = refresh_documents(connection, source, names, **more)  # type: ignore[arg-type]
    assert report.unread == {}
    return sum(report.deltas.values(), Delta())


def live(connection: postgres.Connection) -> list[str]:
    rows = connection.execute(
        "select document_id from documents where deleted_at is null order by 1"
    ).fetchall()
    return [name for (name,) in rows]


def test_counts_what_was_added_changed_removed_and_left(connection: postgres.Connection) -> None:
    source = MemorySource([document("x"), document("y"), document("z")])
    assert refresh(connection, source) == Delta(added=3)
    assert refresh(connection, source) == Delta(unchanged=3)
    source.documents = [document("x"), document("y", "Edited."), document("w")]
    assert refresh(connection, source) == Delta(1, 1, 1, 1)
    assert live(connection) == ["w", "x", "y"]


def test_every_field_counts_as_content(connection: postgres.Connection) -> None:
    variants = [
        document("x"),
        document("x", title="t"),
        document("x", label="l"),
        document("x", url="u"),
        document("x", group="g"),
        document("x", metadata={"n": 1}),
        document("x", metadata={"n": "1"}),
        document("x", created_at=datetime(2020, 1, 1, tzinfo=UTC)),
        document("x", headings=(Heading(0, 1, "h"),)),
        document("x", headings=(Heading(0, 2, "h"),)),
        document("x", headings=(Heading(0, 2, "i"),)),
    ]
    for variant in variants:
        delta = refresh(connection, MemorySource([variant]))
        assert delta.touched == 1, variant


def test_a_tombstone_is_not_removed_again(connection: postgres.Connection) -> None:
    """Else it would count as live, and be logged as removed, at every read."""
    kept = MemorySource([document("y")])
    refresh(connection, MemorySource([document("x"), document("y")]))
    refresh(connection, kept)
    query = "select deleted_at, changed_at from documents where document_id = 'x'"
    removed = connection.execute(query).fetchone()
    assert refresh(connection, kept, max_removed_fraction=0) == Delta(unchanged=1)
    assert connection.execute(query).fetchone() == removed
    log = connection.execute("select count(*) from change_log where document_id = 'x'").fetchone()
    assert log == (2,)


def test_a_removed_document_is_a_tombstone_without_text(connection: postgres.Connection) -> None:
    refresh(connection, MemorySource([document("x", "secret"), document("y")]))
    refresh(connection, MemorySource([document("y")]))
    row = connection.execute(
        "select text, title, deleted_at is not null from documents where document_id = 'x'"
    ).fetchone()
    assert row == ("", "", True)
    assert refresh(connection, MemorySource([document("x"), document("y")])) == Delta(1, 0, 0, 1)
    reasons = connection.execute(
        "select action, reason from change_log where document_id = 'x' order by change_id"
    ).fetchall()
    assert reasons == [("added", "new"), ("removed", "left the source"), ("added", "came back")]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_move_ends_the_same_in_either_order(
    connection: postgres.Connection, order: tuple[str, str]
) -> None:
    refresh(connection, MemorySource([document("x"), document("y", collection="b")]))
    moved = MemorySource([document("x", collection="b"), document("y", collection="b")])
    for collection in order:
        refresh_documents(connection, moved, [collection])
    rows = connection.execute(
        "select document_id, collection, deleted_at from documents order by 1"
    )
    assert rows.fetchall() == [("x", "b", None), ("y", "b", None)]


def test_what_moves_is_counted_where_it_was_also_when_that_is_not_read(
    connection: postgres.Connection,
) -> None:
    before = [document(name) for name in "xz"]
    refresh(connection, MemorySource([*before, document("y", collection="b")]))
    moved = [document(name, collection="b") for name in "xy"]
    refresh_documents(connection, MemorySource([document("z"), *moved]), ["b"])
    counts = connection.execute("select collection, document_count from collections order by 1")
    assert counts.fetchall() == [("a", 1), ("b", 2)]


def test_a_read_that_fails_writes_nothing(connection: postgres.Connection) -> None:
    source = MemorySource([document("x"), document("y")])
    refresh(connection, source)
    edited = MemorySource([document("x", "Half.")])
    for _ in range(2):
        report = refresh_documents(connection, unplugged(edited, "a"), ["a"])
        assert report == DocumentsReport({}, {"a": "a: the disk went away. Plug it in"})
        texts = connection.execute("select text from documents order by document_id").fetchall()
        assert texts == [("Some text.",), ("Some text.",)]
        # Until it can be read, it is asked for again.
        assert unread_collections(connection) == report.unread
        assert changed(connection, source) == ["a"]
    assert refresh(connection, source) == Delta(unchanged=2)
    assert unread_collections(connection) == {}
    assert changed(connection, source) == []


def test_a_collection_that_fails_leaves_the_others_to_be_read(
    connection: postgres.Connection,
) -> None:
    source = MemorySource(
        [document("x"), document("y", collection="b"), document("z", collection="c")]
    )
    refresh(connection, source)
    source.documents = [
        document("x", "Edited."),
        document("w"),
        document("y2", "Edited.", collection="b"),
        document("z", "Edited.", collection="c"),
        document("v", collection="d"),
        Rejected("c", "rows.csv:3", "no text", "u"),
        Rejected("", "rows.csv:4", "not JSON"),
    ]
    report = refresh_documents(connection, unplugged(source, "b", "d"), source.collections())
    assert report.deltas == {"a": Delta(1, 1), "c": Delta(0, 1)}
    assert set(report.unread) == {"b", "d"}
    assert live(connection) == ["w", "x", "y", "z"]
    assert changed(connection, source) == ["b", "d"]
    rejected = connection.execute("select location from rejected_documents order by 1").fetchall()
    assert rejected == [("rows.csv:3",), ("rows.csv:4",)]


def test_what_cannot_be_read_forgets_no_rejected_row(connection: postgres.Connection) -> None:
    source = MemorySource([document("x"), Rejected("", "f:1", "bad"), Rejected("a", "f:2", "bad")])
    refresh(connection, source)
    report = refresh_documents(connection, unplugged(MemorySource([document("x")]), "a"), ["a"])
    assert report.unread
    assert connection.execute("select count(*) from rejected_documents").fetchone() == (2,)


def test_a_document_moves_also_when_another_collection_fails(
    connection: postgres.Connection,
) -> None:
    refresh(connection, MemorySource([document("x"), document("y", collection="c")]))
    moved = MemorySource([document("x", collection="b"), document("y", "Edited.", collection="c")])
    names = ["a", *moved.collections()]
    report = refresh_documents(connection, unplugged(moved, "c"), names)
    assert report.deltas == {"a": Delta(), "b": Delta(changed=1)}
    reasons = connection.execute("select reason from change_log where document_id = 'x'")
    assert reasons.fetchall() == [("new",), ("moved from a",)]


def test_emptying_a_collection_needs_a_flag(connection: postgres.Connection) -> None:
    many = [document(f"x{n}") for n in range(30)]
    refresh(connection, MemorySource([*many, document("y", collection="b")]))
    shrunken = MemorySource([document("x0"), document("y", "Edited.", collection="b")])
    report = refresh_documents(connection, shrunken, ["a", "b"])
    assert report.deltas == {"b": Delta(changed=1)}
    assert re.match(r"29 of 30 documents would be removed.*=1", report.unread["a"])
    assert len(live(connection)) == 31
    assert refresh(connection, shrunken, max_removed_fraction=1.0) == Delta(0, 0, 29, 2)
    assert live(connection) == ["x0", "y"]


def test_a_dropped_collection_is_seen_and_emptied(connection: postgres.Connection) -> None:
    refresh(connection, MemorySource([document("x"), document("y", collection="b")]))
    without = MemorySource([document("x")])
    assert changed(connection, without) == ["b"]
    assert refresh_documents(connection, without, ["b"]).deltas == {"b": Delta(removed=1)}
    assert live(connection) == ["x"]
    assert changed(connection, without) == []


def test_rejected_rows_are_kept_until_the_next_read(connection: postgres.Connection) -> None:
    source = MemorySource([document("x"), Rejected("a", "rows.csv:3", "no text", "y")])
    refresh(connection, source)
    query = "select location, document_id, reason from rejected_documents"
    assert connection.execute(query).fetchall() == [("rows.csv:3", "y", "no text")]
    refresh(connection, MemorySource([document("x")]))
    assert connection.execute(query).fetchall() == []


def test_a_rejected_row_of_no_collection_goes_when_it_is_mended(
    connection: postgres.Connection,
) -> None:
    nowhere = Rejected("", "rows.csv:2", "the collection is empty")
    refresh(connection, MemorySource([document("x"), nowhere]))
    counts = "select count(*) from rejected_documents"
    assert connection.execute(counts).fetchone() == (1,)
    refresh(connection, MemorySource([document("x", "Edited.")]))
    assert connection.execute(counts).fetchone() == (0,)


@pytest.mark.parametrize(
    ("documents", "lost", "refused"),
    [(8, 7, True), (8, 4, False), (4, 3, False), (3, 3, False), (30, 15, False), (30, 16, True)],
)
def test_how_many_may_leave_at_once(
    connection: postgres.Connection, documents: int, lost: int, refused: bool
) -> None:
    """Three always may, and else half of the collection: also of one that is small."""
    rows = [document(f"d{number}") for number in range(documents)]
    refresh(connection, MemorySource(rows))
    report = refresh_documents(connection, MemorySource(rows[lost:]), ["a"])
    assert bool(report.unread) is refused
    assert len(live(connection)) == (documents if refused else documents - lost)


def test_chunks_follow_their_documents(
    connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.documents.refresh._BATCH", 1)
    refresh(connection, MemorySource([document("x", LONG), document("y")]))
    first = refresh_chunks(connection, CHUNKER, ["a"])["a"]
    assert first.added > 3
    assert refresh_chunks(connection, CHUNKER, ["a"]) == {"a": Delta(unchanged=first.added)}
    refresh(connection, MemorySource([document("x", LONG[:60]), document("y")]))
    shrunken = refresh_chunks(connection, CHUNKER, ["a"])["a"]
    assert shrunken.removed > 0
    refresh(connection, MemorySource([document("x", LONG[:60])]))
    assert refresh_chunks(connection, CHUNKER, ["a"])["a"].removed == 1
    orphans = connection.execute("select count(*) from chunks where document_id = 'y'").fetchone()
    assert orphans == (0,)


def test_another_chunker_ends_as_a_build_from_scratch(connection: postgres.Connection) -> None:
    refresh(connection, MemorySource([document("x", LONG)]))
    refresh_chunks(connection, CHUNKER, ["a"])
    before = chunk_versions(connection, ["a"])
    wider = Chunker(CHUNKER.tokenizer_file, 80, tokens=60, overlap=4)
    assert refresh_chunks(connection, wider, ["a"])["a"].touched > 0
    assert chunk_versions(connection, ["a"]) != before
    # Those of the first are there as they were.
    assert refresh_chunks(connection, CHUNKER, ["a"])["a"].touched == 0
    assert chunk_versions(connection, ["a"]) == before


def test_versions_change_only_with_content(connection: postgres.Connection) -> None:
    def version(*documents: Document) -> dict[str, str]:
        return refresh_documents(connection, MemorySource(documents), ["a"]).versions

    before = version(document("x"))
    assert version(document("x")) == before
    changed = version(document("x", label="l"))
    assert changed != before
    assert version(document("x", label="l"), document("y")) != changed
    counted = "select document_count from collections"
    assert connection.execute(counted).fetchall() == [(2,)]
    assert version() == {"a": ""}
    assert connection.execute(counted).fetchall() == [(0,)]


def test_what_is_staged_in_batches_ends_as_one(
    connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "BATCH_CHARACTERS", 3 * staging.ROW_CHARACTERS)
    many = [document(f"x{n}", f"Text {n}.") for n in range(10)]
    assert refresh(connection, MemorySource(many)) == Delta(added=10)
    edited = [*many[:4], document("x4", "Edited."), *many[6:], document("y")]
    assert refresh(connection, MemorySource(edited)) == Delta(1, 1, 1, 8)
    found = connection.execute("select document_id, text from documents order by 1").fetchall()
    present = [*edited, document("x5", "")]
    assert found == sorted((one.document_id, one.text) for one in present)


def test_of_an_unchanged_document_no_text_is_sent(connection: postgres.Connection) -> None:
    source = MemorySource([document("x"), document("y", collection="b")])
    refresh(connection, source)
    source.documents[0] = document("x", "Edited.")
    refresh(connection, source)
    sent = connection.execute("select document_id from staged_contents").fetchall()
    assert sent == [("x",)]


def test_chunks_follow_a_document_that_only_moved(connection: postgres.Connection) -> None:
    refresh(connection, MemorySource([document("x", LONG), document("y")]))
    refresh_chunks(connection, CHUNKER, ["a"])
    moved = MemorySource([document("x", LONG, collection="b"), document("y")])
    refresh(connection, moved)
    deltas = refresh_chunks(connection, CHUNKER, ["b"])
    assert set(deltas) == {"b"}
    found = connection.execute("select distinct collection from chunks where document_id = 'x'")
    assert found.fetchall() == [("b",)]


class WrittenMeanwhile(Files):
    """A file in which `write` does something before each reading, and `mend` after it."""

    def __init__(self, file: Path, write: Callable[[], object], mend: Callable[[], object]) -> None:
        super().__init__(str(file), columns_from({}), 10_000)
        self.readings = 0
        self._write, self._mend = write, mend

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        self.readings += 1
        self._write()
        yield from super().read(collections)
        self._mend()


def lines(count: int) -> str:
    return "".join(f'{{"id": "d{n}", "text": "Text {n}."}}\n' for n in range(count))


def test_a_file_cut_while_it_was_read_is_read_again(
    connection: postgres.Connection, tmp_path: Path
) -> None:
    """It is whole again afterwards, so that neither fingerprint nor size tells of it."""
    file = tmp_path / "notes.jsonl"
    file.write_text(lines(50))

    def first_time(count: int) -> None:
        if source.readings == 1:
            file.write_text(lines(count))

    source = WrittenMeanwhile(file, lambda: first_time(30), lambda: first_time(50))
    settled = Files(str(file), columns_from({}), 10_000)
    report = refresh_documents(connection, source, source.collections())
    assert source.readings == 2
    assert report.deltas == {"notes": Delta(added=50)}
    assert changed(connection, settled) == []


def test_what_is_written_at_every_reading_is_taken_and_read_again(
    connection: postgres.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text(lines(3))

    def append() -> None:
        file.write_text(lines(3 + source.readings))

    source = WrittenMeanwhile(file, append, append)
    report = refresh_documents(connection, source, source.collections())
    assert report.deltas == {"notes": Delta(added=6)}
    settled = Files(str(file), columns_from({}), 10_000)
    assert changed(connection, settled) == ["notes"]
    refresh_documents(connection, settled, ["notes"])
    assert changed(connection, settled) == []


def test_a_document_without_a_group_is_a_group_of_its_own(connection: postgres.Connection) -> None:
    refresh(connection, MemorySource([document("x"), document("y", group="g")]))
    rows = connection.execute("select document_id, group_id from documents order by 1").fetchall()
    assert rows == [("x", "x"), ("y", "g")]


def test_reasons_may_quote_what_postgres_cannot_hold(connection: postgres.Connection) -> None:
    bad = Rejected("a", "x\0.csv row 2", "no column \0\udcff", "i\0d")
    refresh_documents(connection, MemorySource([document("x"), bad]), ["a"])
    query = "select location, reason, document_id from rejected_documents"
    assert connection.execute(query).fetchall() == [("x.csv row 2", "no column ", "id")]

    class Unreadable(MemorySource):
        def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
            raise SourceError("no column \0\udcff", do="Mend it")

    refresh_documents(connection, Unreadable([document("x")]), ["a"])
    query = "select read_error from collections"
    assert connection.execute(query).fetchall() == [("no column . Mend it",)]


def test_headings_divide_the_chunks_and_are_above_them(connection: postgres.Connection) -> None:
    text = f"# One\n{LONG}\n## Two\n{LONG}"
    headings = (Heading(0, 1, "One"), Heading(text.index("##"), 2, "Two"))
    known = document("x", text, title="T", headings=headings)
    plain = document("x", text, title="T")
    for variant in (plain, known):
        refresh(connection, MemorySource([variant]))
        refresh_chunks(connection, CHUNKER, ["a"])
        chunks = CHUNKER.chunk("T", text, variant.headings)
        rows = connection.execute(
            "select start_offset, heading, path from chunks order by chunk_index"
        ).fetchall()
        assert rows == [(chunk.start, chunk.heading, list(chunk.path)) for chunk in chunks]
        assert read_document(connection, "x") == variant.__class__(
            **{**{name: getattr(variant, name) for name in variant.__slots__}, "group": "x"}
        )
        altered = connection.execute("select count(*) from documents d where is_altered(d)")
        assert altered.fetchone() == (0,)
    assert read_history(connection, "x")[-1]["reason"] == "headings"
    connection.execute("update documents set headings = '[]'")
    altered = connection.execute("select count(*) from documents d where is_altered(d)")
    assert altered.fetchone() == (1,)
    refresh(connection, MemorySource([document("y")]))
    gone = connection.execute("select headings from documents where document_id = 'x'")
    assert gone.fetchone() == ([],)
