"""The row delta to the indexes outside PostgreSQL: killed runs, lost indexes, random edits."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ml_assets.delta import Delta
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.refresh import refresh_documents
from ml_assets.errors import DamagedStoreError, StoreError
from ml_assets.search.filters.language import NO_FILTER
from ml_assets.search.indexes import ledger
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.contract import Entry
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import sync_index
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import chroma, postgres
from ml_assets.stores.file_locks import locked
from ml_assets_tests.fakes import HashEncoder, MemorySource
from ml_assets_tests.search.choices import CHOICES, AnyIndex
from ml_assets_tests.search.corpus import Doc, fill, generation_of, ids, put, remove

DOCS = {f"d{number}": Doc((f"text {number}", "tail"), f"title {number}") for number in range(6)}


class KilledError(Exception):
    """Stands for the end of the process."""


Outside = ChromaIndex | FaissIndex | KeywordIndex
OpenOutside = Callable[[], Outside]
outside_postgres = pytest.mark.parametrize(
    "open_index",
    ["chroma", "chroma server", "faiss flat", "faiss ivfpq", "keyword"],
    indirect=True,
)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "VECTORS_AT_A_TIME", 3)
    monkeypatch.setattr(ledger, "TEXTS_AT_A_TIME", 3)


def sync(connection: postgres.Connection, index: Outside) -> Delta:
    return ledger.sync(connection, index).delta


def recorded(connection: postgres.Connection) -> dict[str, bytes]:
    rows = connection.execute("select chunk_id, revision from search_index_entries")
    return dict(rows.fetchall())


@pytest.mark.parametrize("killed_at", [1, 3])
@pytest.mark.parametrize("kept", [True, False])
@outside_postgres
def test_a_killed_sync_is_taken_up_where_it_ended(
    connection: postgres.Connection,
    generation: Generation,
    open_index: OpenOutside,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: int,
    kept: bool,
) -> None:
    """Killed at the n-th batch, just before or just after the index took it."""
    fill(connection, DOCS)
    index = open_index()
    calls = 0

    def killing(entries: Sequence[Entry], original: Any = index.upsert) -> int:
        nonlocal calls
        calls += 1
        replaced = original(entries) if kept or calls < killed_at else 0
        if calls == killed_at:
            raise KilledError
        return int(replaced)

    monkeypatch.setattr(index, "upsert", killing)
    with pytest.raises(KilledError):
        sync(connection, index)
    survivor = open_index()
    held = survivor.size()
    delta = sync(connection, survivor)
    assert delta == Delta(added=12 - held, unchanged=held)
    assert dict(open_index().revisions()) == recorded(connection)
    assert len(recorded(connection)) == 12


@outside_postgres
def test_a_kill_between_removal_and_ledger_converges(
    connection: postgres.Connection, generation: Generation, open_index: OpenOutside
) -> None:
    fill(connection, DOCS)
    sync(connection, open_index())
    remove(connection, "d0")
    index = open_index()
    index.remove(["d0#0"])
    index.close()
    survivor = open_index()
    left = survivor.size() - 10  # FAISS forgets what no mark was set after
    assert sync(connection, survivor) == Delta(removed=left, unchanged=10)
    assert ids(open_index()) == set(recorded(connection))


@outside_postgres
def test_an_entry_in_the_place_of_another_is_repaired(
    connection: postgres.Connection, generation: Generation, open_index: OpenOutside
) -> None:
    """Another hand leaves number and mark as they were."""
    fill(connection, DOCS)
    index = open_index()
    sync(connection, index)
    (entry,) = ledger._entries(connection, index, ["d0#0"])
    mark = index.mark()
    index.remove(["d1#0"])
    index.upsert([replace(entry, chunk_id="ghost#0")])
    index.set_mark(mark)
    index.close()
    assert sync(connection, open_index()) == Delta(unchanged=12)
    index = open_index()
    ledger.forget_altered(connection, index)
    index.close()
    assert sync(connection, open_index()) == Delta(added=1, removed=1, unchanged=11)
    assert ids(open_index()) == set(recorded(connection))


@outside_postgres
def test_a_lost_index_is_built_again(
    connection: postgres.Connection, generation: Generation, open_index: OpenOutside
) -> None:
    fill(connection, DOCS)
    index = open_index()
    sync(connection, index)
    index.remove(sorted(ids(index)))
    index.set_mark("")
    index.close()
    assert sync(connection, open_index()) == Delta(added=12)


def test_a_deleted_keyword_folder_is_built_again(
    connection: postgres.Connection, generation: Generation, settings: Settings
) -> None:
    fill(connection, DOCS)
    index = KeywordIndex(settings.keyword_folder, generation)
    assert sync_index(connection, index).delta == Delta(added=12)
    index.close()
    shutil.rmtree(settings.keyword_folder)
    again = KeywordIndex(settings.keyword_folder, generation)
    assert sync_index(connection, again).delta == Delta(added=12)
    again.close()


def test_a_restored_backup_is_brought_up_to_date(
    connection: postgres.Connection, generation: Generation, settings: Settings, tmp_path: Path
) -> None:
    """Old revisions in the backup are seen, because the index itself says what it holds."""
    fill(connection, DOCS)
    sync_index(connection, KeywordIndex(settings.keyword_folder, generation))
    shutil.copytree(settings.keyword_folder, tmp_path / "backup")
    put(connection, "d0", Doc(("text 0",), "another title"))
    sync_index(connection, KeywordIndex(settings.keyword_folder, generation))
    shutil.rmtree(settings.keyword_folder)
    shutil.copytree(tmp_path / "backup", settings.keyword_folder)
    index = KeywordIndex(settings.keyword_folder, generation)
    assert sync_index(connection, index).delta == Delta(changed=1, removed=1, unchanged=10)
    assert index.query("another", 5).chunk_ids == ["d0#0"]
    index.close()


def test_as_many_chunks_in_other_revisions_are_seen(
    connection: postgres.Connection, generation: Generation, settings: Settings, tmp_path: Path
) -> None:
    """A restored folder, a restored ledger, and the folder of a second host: counts are equal."""
    fill(connection, DOCS)
    second = tmp_path / "second"
    sync_index(connection, KeywordIndex(settings.keyword_folder, generation))
    shutil.copytree(settings.keyword_folder, second)
    put(connection, "d0", Doc(("text 0", "tail"), "another title"))
    both = Delta(changed=2, unchanged=10)
    assert sync_index(connection, KeywordIndex(settings.keyword_folder, generation)).delta == both
    assert sync_index(connection, KeywordIndex(second, generation)).delta == both
    for folder in (settings.keyword_folder, second):
        index = KeywordIndex(folder, generation)
        assert sync_index(connection, index).delta == Delta(unchanged=12)
        assert dict(index.revisions()) == recorded(connection)
        index.close()


@pytest.mark.parametrize("open_index", ["chroma", "chroma server"], indirect=True)
def test_a_chroma_of_another_mark_is_read_anew(
    connection: postgres.Connection, generation: Generation, open_index: OpenOutside
) -> None:
    fill(connection, DOCS)
    sync(connection, open_index())
    connection.execute("update search_index_entries set revision = 'x' where chunk_id = 'd0#0'")
    index = open_index()
    index.set_mark("restored")
    assert sync(connection, index) == Delta(unchanged=12)
    assert dict(open_index().revisions()) == recorded(connection)


@outside_postgres
def test_a_ledger_without_index_or_an_index_without_ledger_is_mended(
    connection: postgres.Connection, generation: Generation, open_index: OpenOutside
) -> None:
    fill(connection, DOCS)
    sync(connection, open_index())
    connection.execute("delete from search_index_entries")
    assert sync(connection, open_index()) == Delta(unchanged=12)
    assert len(recorded(connection)) == 12


@outside_postgres
def test_a_chunk_that_waits_for_its_vector_is_not_held(
    connection: postgres.Connection, generation: Generation, open_index: OpenOutside
) -> None:
    fill(connection, DOCS)
    sync(connection, open_index())
    connection.execute("update chunks set text_hash = 'new' where chunk_id = 'd1#0'")
    assert sync(connection, open_index()) == Delta(removed=1, unchanged=11)


def test_a_held_lock_is_a_clear_error(
    connection: postgres.Connection, generation: Generation, settings: Settings
) -> None:
    fill(connection, DOCS)
    holder = KeywordIndex(settings.keyword_folder, generation)
    holder.upsert([])
    with pytest.raises(StoreError, match="another program is writing"):
        sync_index(connection, KeywordIndex(settings.keyword_folder, generation))
    holder.close()


def test_a_damaged_keyword_index_is_a_clear_error(
    connection: postgres.Connection, generation: Generation, settings: Settings
) -> None:
    fill(connection, DOCS)
    index = KeywordIndex(settings.keyword_folder, generation)
    sync_index(connection, index)
    index.close()
    (index.path / "meta.json").write_text("{")
    with pytest.raises(DamagedStoreError, match="the keyword index is damaged"):
        KeywordIndex(settings.keyword_folder, generation).size()


IDS = ("p", "q", "r")
SOME_DOC = st.builds(
    Doc,
    chunks=st.lists(st.sampled_from(["red", "green", "blue"]), min_size=1, max_size=3).map(tuple),
    title=st.sampled_from(["", "One", "Two"]),
    collection=st.sampled_from(["a", "b"]),
    label=st.none() | st.just("x"),
    created_at=st.none() | st.just(datetime(2020, 1, 1, tzinfo=UTC)),
    metadata=st.dictionaries(
        st.sampled_from(["m", "n"]), st.booleans() | st.integers(0, 1) | st.just("1"), max_size=2
    ),
)
EDITS = st.lists(st.tuples(st.sampled_from(IDS), st.none() | SOME_DOC) | st.none(), max_size=8)


@hypothesis_settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(edits=EDITS)
def test_any_edits_end_in_the_index_built_from_scratch(
    connection: postgres.Connection,
    generation: Generation,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    edits: list[tuple[str, Doc | None] | None],
) -> None:
    """`None` syncs; what is stored in the end must equal what a new index stores."""
    remove(connection, *IDS)
    with_faiss = generation_of(connection, settings.model_copy(update=CHOICES["faiss flat"]))
    home, fresh = tmp_path_factory.mktemp("kept"), tmp_path_factory.mktemp("fresh")
    with chroma.connect(None, home) as client, chroma.connect(None, fresh) as new_client:
        kept = [
            PgvectorIndex(connection, generation),
            ChromaIndex(client, generation),
            FaissIndex(home / "faiss", with_faiss),
            KeywordIndex(home, generation),
        ]
        new = [
            PgvectorIndex(connection, generation),
            ChromaIndex(new_client, generation),
            FaissIndex(fresh / "faiss", with_faiss),
            KeywordIndex(fresh, generation),
        ]
        for edit in [*edits, None]:
            _play(connection, kept, edit)
        connection.execute("delete from search_index_entries")
        for index in new:
            sync_index(connection, index)
        for one, other in zip(kept, new, strict=True):
            assert _content(one) == _content(other)
            one.close()
            other.close()


def _play(
    connection: postgres.Connection,
    indexes: Sequence[AnyIndex],
    edit: tuple[str, Doc | None] | None,
) -> None:
    if edit is None:
        for index in indexes:
            sync_index(connection, index)
        return
    document_id, doc = edit
    if doc is None:
        remove(connection, document_id)
    else:
        put(connection, document_id, doc)


def _content(index: AnyIndex) -> object:
    """All that an index stores, as far as it can be read back."""
    if isinstance(index, PgvectorIndex):
        return sorted(ids(index))
    if isinstance(index, KeywordIndex):
        return sorted(index.revisions())
    if isinstance(index, FaissIndex):
        if not index.size():
            return []
        found = index.query(HashEncoder().encode(["red"])[0], 100)
        scores = [round(score, 5) for score in found.scores]
        return sorted(index.revisions()), sorted(zip(found.chunk_ids, scores, strict=True))
    collection = index._find()
    if collection is None:
        return []
    stored = collection.get(include=["metadatas", "embeddings"])
    embeddings = [list(vector) for vector in stored["embeddings"]]
    return sorted(
        zip(stored["ids"], map(_items, stored["metadatas"] or []), embeddings, strict=True)
    )


def _items(metadata: Any) -> list[tuple[str, str]]:
    return sorted((key, repr(value)) for key, value in metadata.items())


@pytest.mark.parametrize("open_index", ["keyword"], indirect=True)
def test_documents_that_are_written_while_an_index_is_synced_are_waited_for(
    connection: postgres.Connection,
    postgres_url: str,
    generation: Generation,
    open_index: OpenOutside,
) -> None:
    """A rollback syncs and does not wait for runs: their documents come with an earlier time."""
    fill(connection, DOCS)

    def waiting() -> int:
        return ledger.waiting_documents(connection, generation, ["keyword"], NO_FILTER).documents

    class SyncedMeanwhile(MemorySource):
        def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
            yield from super().read(collections)
            sync(connection, open_index())
            assert waiting() == 0

    source = SyncedMeanwhile([Document("new", "new", "A text.")])
    with postgres.connect(postgres_url, Path()) as other:
        refresh_documents(other, source, ["new"])
    assert waiting() == 1
    sync(connection, open_index())
    assert waiting() == 1  # nobody has cut it yet
    remove(connection, "new")
    sync(connection, open_index())
    (row,) = connection.execute(
        "select synced_at > (select max(changed_at) from documents) from search_index_marks"
    ).fetchall()
    assert row == (True,)


@pytest.mark.parametrize("open_index", ["faiss flat", "keyword"], indirect=True)
def test_a_folder_is_dropped_whole_or_told(
    connection: postgres.Connection,
    generation: Generation,
    open_index: OpenOutside,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is dropped is gone; a folder that stays is not forgotten."""
    fill(connection, DOCS)
    index = open_index()
    assert not isinstance(index, ChromaIndex)
    sync(connection, index)
    assert index.lock is not None
    with locked(index.lock, 0):  # a reader of this host brings it up to date
        assert not index.drop()
    assert index.size() == len(DOCS) * 2
    with monkeypatch.context() as patched:

        def refuse(number: int, path: Path) -> None:
            raise OSError(number, "no", str(path))

        patched.setattr(shutil, "rmtree", partial(refuse, errno.EBUSY))
        assert not index.drop()  # NFS keeps what another host has open
        patched.setattr(shutil, "rmtree", partial(refuse, errno.EACCES))
        with pytest.raises(StoreError, match=r"cannot be removed.*Change its permissions"):
            index.drop()
    assert index.size() == len(DOCS) * 2
    assert index.drop()
    assert not index.path.exists()
    assert not index.lock.exists()
    assert index.drop()
