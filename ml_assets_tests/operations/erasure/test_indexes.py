"""An index is written anew: nothing of what was removed is left in its files, all else is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pgvector import HalfVector

from ml_assets.operations.erasure.stores.indexes import erase
from ml_assets.operations.erasure.subject import Marks, Place, Subject
from ml_assets.operations.erasure.traces import find_traces
from ml_assets.search.indexes import ledger
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.contract import Entry
from ml_assets.search.indexes.faiss import codes
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import Indexes, sync_index
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import chroma, postgres
from ml_assets_tests.search.corpus import Doc, generation_of, sync_all
from ml_assets_tests.search.corpus import fill as fill_tables
from ml_assets_tests.search.corpus import remove as remove_from_tables

DIMENSION = 32
WORDS = ("qzidentity-of-it", "Qztitlemark77", "Qztextmark77", "qzvalue of metadata", "qzlabel-77")
CHUNKS = ("qzidentity-of-it#0", "qzidentity-of-it#1")
KINDS = ("keyword", "chroma", "faiss flat", "faiss ivfpq")


def entries(count: int = 60) -> list[Entry]:
    """Chunks of which two are of the planted document; the second has the vector of another."""
    numbers = np.random.default_rng(7).standard_normal((count, DIMENSION)).astype(np.float16)
    made = [
        Entry(
            chunk_id=f"d{number}#0",
            revision=bytes([number % 199]) * 32,
            title=f"title {number}",
            text=f"text of number {number}",
            collection="a",
            label="b",
            created_at=number,
            metadata={"source": "s"},
            embedding=HalfVector(row.tolist()),
        )
        for number, row in enumerate(numbers)
    ]
    planted = [
        Entry(
            chunk_id=CHUNKS[number],
            revision=bytes([200 + number]) * 32,
            title=WORDS[1],
            text=WORDS[2],
            collection="a",
            label=WORDS[4],
            created_at=7,
            metadata={"source": WORDS[3]},
            embedding=embedding,
        )
        for number, embedding in enumerate([made[5].embedding, made[9].embedding])
    ]
    return [each for n, each in enumerate([*made, *planted]) if n != 5]


VECTOR = entries()[-2].vector
MARKS = Marks(WORDS, (VECTOR,))


@contextmanager
def opened(kind: str, home: Path) -> Iterator[Any]:
    name, _, index = kind.partition(" ")
    parameters = {
        "keyword": {"layout": 4, "title_boost": 1.0, "tie_breaker": 0.1},
        "chroma": {"distance": "cosine", "m": 16, "ef_construction": 64, "ef_search": 64},
        "faiss": {"index": index},
    }
    generation = Generation("0" * 16, "s", DIMENSION, parameters)
    if name == "chroma":
        with chroma.connect(None, home) as client:
            yield ChromaIndex(client, generation, disk=chroma.embedded_folder(home))
        return
    made: Any = {"keyword": KeywordIndex, "faiss": FaissIndex}[name]
    index_ = made(home / name, generation)
    yield index_
    index_.close()


def fill(kind: str, home: Path, some: Sequence[Entry]) -> None:
    with opened(kind, home) as index:
        index.upsert(some)
        index.set_mark("whole")


def answers(kind: str, home: Path) -> list[Any]:
    with opened(kind, home) as index:
        query: Any = "number 9 title text" if kind == "keyword" else entries()[8].vector
        ranking = index.query(query, 2_000)
        # Which rows codes are trained on is decided by their numbers.
        ids = sorted(ranking.chunk_ids) if kind == "faiss ivfpq" else list(ranking.chunk_ids)
        return [sorted(index.revisions()), ids, ranking.chunk_ids[0], index.mark()]


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml_assets.search.indexes.faiss.codes.TRAINS_FROM", 299)


def size_for(kind: str) -> int:
    """Product codes take so many rows, and Chroma writes a graph when there are so many."""
    return {"faiss ivfpq": 300, "chroma": 1_100}.get(kind, 60)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_what_was_removed(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "home"
    some = entries(size_for(kind))
    planted = [entry for entry in some if entry.chunk_id in CHUNKS]
    others = [entry for entry in some if entry.chunk_id not in CHUNKS]
    fill(kind, home, some)
    traces = find_traces(home, MARKS)
    marks = {trace.mark for trace in traces}
    if kind == "chroma":
        in_graph = {trace.mark for trace in traces if trace.file.endswith("data_level0.bin")}
        assert in_graph == {"vectors[0]"}
    expected = {"words[0]", "words[1]", "words[2]", "words[3]", "words[4]", "vectors[0]"}
    missing = {"keyword": {"vectors[0]"}, "chroma": {"words[1]", "words[2]"}}.get(
        kind, {f"words[{number}]" for number in range(1, 5)}
    )
    assert marks >= expected - missing
    with opened(kind, home) as index:
        if kind.startswith("faiss"):  # as most builds of SQLite have it
            index._open().execute("pragma secure_delete = off")
        index.set_mark("")
        index.remove([entry.chunk_id for entry in planted])
        assert index.rewrite([others])
        index.set_mark("whole")
    if kind == "chroma":
        chroma.purge(home)
    assert find_traces(home, MARKS) == []
    fill(kind, tmp_path / "other", others)
    assert answers(kind, home) == answers(kind, tmp_path / "other")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_there_is_not_written(tmp_path: Path, kind: str) -> None:
    with opened(kind, tmp_path) as index:
        assert not index.rewrite([])
        assert index.size() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_of_which_nothing_is_left_is_empty(tmp_path: Path, kind: str) -> None:
    some = [entry for entry in entries() if entry.chunk_id in CHUNKS]
    fill(kind, tmp_path, some)
    with opened(kind, tmp_path) as index:
        index.remove(CHUNKS)
        assert index.rewrite([])
        assert index.size() == 0
    if kind == "chroma":
        chroma.purge(tmp_path)
    assert find_traces(tmp_path, MARKS) == []


def test_memory_that_chroma_writes_before_there_are_vectors_is_wiped(tmp_path: Path) -> None:
    fill("chroma", tmp_path, entries(50))
    with opened("chroma", tmp_path) as index:
        for file in tmp_path.rglob("data_level0.bin"):
            content = file.read_bytes()
            file.write_bytes(WORDS[0].encode() + content[len(WORDS[0]) :])
        assert index.rewrite([])
        assert index.query(entries(50)[8].vector, 1).chunk_ids == ["d9#0"]
    chroma.purge(tmp_path)
    for name in ("data_level0.bin", "length.bin"):
        files = [*tmp_path.rglob(name)]
        assert len(files) == 2  # of the graph and of the copies
        assert not any(any(file.read_bytes()) for file in files)
    with opened("chroma", tmp_path) as index:
        assert index.query(entries(50)[8].vector, 1).chunk_ids == ["d9#0"]


@pytest.mark.parametrize("kind", KINDS)
def test_who_reads_goes_on_and_then_reads_the_new_one(tmp_path: Path, kind: str) -> None:
    some = entries(size_for(kind))
    others = [entry for entry in some if entry.chunk_id not in CHUNKS]
    fill(kind, tmp_path, some)
    query: Any = "number 9" if kind == "keyword" else some[8].vector
    with opened(kind, tmp_path) as reader, opened(kind, tmp_path) as index:
        assert reader.query(query, 1).chunk_ids
        index.set_mark("")
        index.remove(CHUNKS)
        assert index.rewrite([others])
        assert reader.query(query, 1).chunk_ids
        reader.close()
        assert sorted(reader.revisions()) == sorted(
            (entry.chunk_id, entry.revision) for entry in others
        )
        assert reader.query(query, 1).chunk_ids


def test_codes_are_trained_without_what_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("faiss ivfpq", tmp_path, entries(300))
    trained: list[int] = []
    original = codes._product_codes

    def training(rows: Any, dimension: int, count: int) -> Any:
        trained.append(count)
        return original(rows, dimension, count)

    monkeypatch.setattr(codes, "_product_codes", training)
    with opened("faiss ivfpq", tmp_path) as index:
        index.remove(CHUNKS)
        index.set_mark("removed")
        assert trained == []
        assert index.rewrite([])
    assert trained == [299]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    fill("keyword", tmp_path, entries())
    others = [entry for entry in entries() if entry.chunk_id not in CHUNKS]
    folder = tmp_path / "keyword" / ("0" * 16)
    stray = folder / f"{'a' * 32}.store"
    stray.write_bytes(WORDS[0].encode())
    staging = folder.with_name(f".{folder.name}.new") / folder.name
    staging.mkdir(parents=True)
    (staging / "meta.json").write_bytes(WORDS[1].encode())
    with opened("keyword", tmp_path) as index:
        index.remove(CHUNKS)
        assert index.rewrite([others])
    assert not stray.exists()
    assert not staging.parent.exists()
    assert find_traces(tmp_path, MARKS) == []


DOCS = {
    "qzidentity-of-it": Doc((WORDS[2], "tail"), WORDS[1], label=WORDS[4]),
    **{f"d{number}": Doc((f"text {number}", "tail"), f"title {number}") for number in range(6)},
}
SUBJECT = Subject("r", ("qzidentity-of-it",), chunks=CHUNKS, marks=Marks(WORDS[:3]))


@pytest.fixture
def generations(connection: postgres.Connection, settings: Settings) -> list[Generation]:
    """Two generations with all kinds of indexes, of which one was served before."""
    chosen = (settings.model_copy(update={"vector_index": "faiss-flat"}), settings)
    made = [generation_of(connection, each) for each in chosen]
    fill_tables(connection, DOCS)
    for each in made:
        sync_all(connection, settings, each)
    return made


def held(connection: postgres.Connection, settings: Settings, generation: Generation) -> list[Any]:
    with Indexes(settings).open_all(connection, generation) as found:
        return [
            (kind, index.mark(), sorted(index.revisions()))
            for kind, index in found.items()
            if kind != "pgvector"
        ]


def test_all_generations_lose_it_and_no_sync_has_anything_to_do(
    connection: postgres.Connection, settings: Settings, generations: list[Generation]
) -> None:
    assert {trace.mark for trace in find_traces(settings.home, SUBJECT.marks)} == {
        "words[0]",
        "words[1]",
        "words[2]",
    }
    stray = settings.keyword_folder / "dropped"
    stray.mkdir()
    (stray / "0.store").write_text(WORDS[0])
    remove_from_tables(connection, *SUBJECT.documents)
    removed = erase(Place(settings, connection), SUBJECT)
    assert sorted((each.store, each.count) for each in removed) == [
        *[("chroma", 2)] * 2,
        ("faiss", 2),
        *[("keyword", 2)] * 2,
    ]
    assert find_traces(settings.home, SUBJECT.marks) == []
    for generation in generations:
        for kind, mark, chunks in held(connection, settings, generation):
            assert len(chunks) == 12
            assert mark == ledger.marks(connection, generation)[kind]
        with Indexes(settings).open_all(connection, generation) as found:
            deltas = {sync_index(connection, index).delta.touched for index in found.values()}
        assert deltas == {0}
    assert [each.count for each in erase(Place(settings, connection), SUBJECT)] == [0] * 5


@pytest.mark.parametrize("method", ["remove", "rewrite"])
def test_a_killed_erasure_is_completed_by_the_next(
    connection: postgres.Connection,
    settings: Settings,
    generations: list[Generation],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    remove_from_tables(connection, *SUBJECT.documents)
    for kind in (ChromaIndex, FaissIndex, KeywordIndex):
        original = getattr(kind, method)

        def killed(*given: Any, original: Any = original) -> Any:
            original(*given)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(kind, method, killed)
            with pytest.raises(KeyboardInterrupt):
                erase(Place(settings, connection), SUBJECT)
    erase(Place(settings, connection), SUBJECT)
    assert find_traces(settings.home, SUBJECT.marks) == []
    for generation in generations:
        for kind, mark, chunks in held(connection, settings, generation):
            assert (len(chunks), mark) == (12, ledger.marks(connection, generation)[kind])


def test_an_index_that_is_behind_stays_behind_for_the_next_sync(
    connection: postgres.Connection, settings: Settings, generations: list[Generation]
) -> None:
    (first, _) = generations
    with Indexes(settings).open_all(connection, first) as found:
        for index in found.values():
            if index.kind in ("chroma", "faiss"):
                index.remove(["d1#0"])
                index.set_mark("of another hand")
    remove_from_tables(connection, *SUBJECT.documents)
    erase(Place(settings, connection), SUBJECT)
    assert find_traces(settings.home, SUBJECT.marks) == []
    marks = {kind: mark for kind, mark, _ in held(connection, settings, first)}
    assert marks["chroma"] == marks["faiss"] == ""
    with Indexes(settings).open_all(connection, first) as found:
        assert sync_index(connection, found["chroma"]).delta.added == 1
