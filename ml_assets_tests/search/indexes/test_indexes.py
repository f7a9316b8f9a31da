"""The contract that all indexes keep: pgvector, Chroma, FAISS and tantivy alike."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_
from hypothesis import strategies as st

from ml_assets.delta import Delta
from ml_assets.errors import SpaceMismatchError, StoreError
from ml_assets.search.filters.language import (
    NO_FILTER,
    And,
    Compare,
    Condition,
    In,
    Not,
    Or,
    all_of,
    created_between,
)
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import sync_index
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import chroma, postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.choices import CHOICES, AnyIndex, OpenIndex
from ml_assets_tests.search.corpus import Doc, fill, generation_of, ids, put, remove
from ml_assets_tests.search.filters.conditions import equal
from ml_assets_tests.search.indexes.asking import ask, only_indexes

YEAR = {year: datetime(year, 1, 1, tzinfo=UTC) for year in range(2019, 2025)}
DOCS = {
    "a": Doc(("red apple", "green apple"), "Fruit", "food", "eat", YEAR[2020], {"n": 1, "s": "x"}),
    "b": Doc(("red apple pie",), "Cake", "food", "bake", YEAR[2021], {"n": 2, "ok": True}),
    "c": Doc(("red car",), "Wheels", "cars", "drive", YEAR[2022], {"n": 1, "ok": False}),
    "d": Doc(("red apple of no time",), "Loose", "cars", None, None, {"n": 1.5, "s": 'q"[x]\\'}),
}


@pytest.fixture
def synced(connection: postgres.Connection, index: AnyIndex) -> AnyIndex:
    fill(connection, DOCS)
    sync_index(connection, index)
    return index


NAMES = [f"l{number}" for number in range(40_000)]
EAT = equal("label", "eat")
MANY: list[Condition] = [
    Or((*(equal("label", name) for name in NAMES[:1200]), EAT)),
    And((*(Not(equal("label", name)) for name in NAMES[:1200]), EAT)),
    In("label", ("eat", *NAMES)),
    And((In("metadata.s", ("x", *NAMES)), EAT)),
]


def test_a_filter_of_any_length_is_answered(
    connection: postgres.Connection, synced: AnyIndex
) -> None:
    for condition in MANY:
        found = ask(synced, filters=condition, connection=connection)
        # Of the two chunks that pass, one has the word.
        expected = {"a#0"} if isinstance(synced, KeywordIndex) else {"a#0", "a#1"}
        assert set(found.chunk_ids) == expected


def test_an_index_that_was_never_built_is_empty(index: AnyIndex) -> None:
    assert ids(index) == set()
    assert index.size() == 0


def test_sync_writes_only_the_difference(
    connection: postgres.Connection, open_index: OpenIndex
) -> None:
    fill(connection, DOCS)
    first = sync_index(connection, open_index())
    assert first.delta == Delta(added=5)
    assert first.size == 5
    again = sync_index(connection, open_index())
    assert again.delta == Delta(unchanged=5)
    assert again.version == first.version

    put(connection, "a", Doc(("red apple",), "Fruit", "food"))
    remove(connection, "c")
    put(connection, "e", Doc(("blue boat",)))
    index = open_index()
    report = sync_index(connection, index)
    if not isinstance(index, PgvectorIndex):  # PostgreSQL has followed already
        assert report.delta == Delta(added=1, changed=1, removed=2, unchanged=2)
    assert report.version != first.version
    assert ids(index) == {"a#0", "b#0", "d#0", "e#0"}
    assert index.size() == 4


def test_chunks_that_are_not_yet_indexed_are_no_error_under_a_filter(
    connection: postgres.Connection, synced: AnyIndex
) -> None:
    put(connection, "e", Doc(("red boat",), metadata={"n": 9}))
    put(connection, "f", Doc(("red boat",), metadata={"n": 0}))
    for condition, expected in (
        (Not(Compare("metadata.n", "<", 2)), {"b#0"}),
        (And((Not(Compare("metadata.n", "<", 9)), Compare("metadata.n", ">", 8))), set()),
    ):
        ranking = ask(synced, filters=condition, connection=connection)
        new = {"e#0"} if isinstance(synced, PgvectorIndex) else set()
        assert set(ranking.chunk_ids) == expected | new


def test_a_reopened_index_answers(
    connection: postgres.Connection, synced: AnyIndex, open_index: OpenIndex
) -> None:
    reopened = open_index()
    assert ids(reopened) == {"a#0", "a#1", "b#0", "c#0", "d#0"}
    assert set(ask(reopened).chunk_ids) >= {"a#0", "b#0", "c#0", "d#0"}


def test_the_best_match_comes_first(synced: AnyIndex) -> None:
    assert ask(synced, "green apple").chunk_ids[0] == "a#1"
    assert ask(synced, "red apple pie", k=1).chunk_ids == ["b#0"]


def test_scores_fall_with_the_ranks(connection: postgres.Connection, synced: AnyIndex) -> None:
    found = ask(synced, "red apple pie", k=4)
    assert len(found.scores) == len(found.chunk_ids) == 4
    assert list(found.scores) == sorted(found.scores, reverse=True)
    narrow = ask(
        synced, "red apple pie", filters=equal("collection", "food"), connection=connection
    )
    of = dict(zip(found.chunk_ids, found.scores, strict=True))
    assert narrow.scores[0] == pytest.approx(of["b#0"], abs=1e-3)


def test_the_score_of_a_vector_index_is_the_cosine(synced: AnyIndex) -> None:
    if isinstance(synced, KeywordIndex):
        assert ask(synced, "pie").scores[0] > 1  # BM25 knows no bound
        return
    red, pie = HashEncoder().encode(["red", "red apple pie"])
    found = ask(synced, "red")
    cosine = dict(zip(found.chunk_ids, found.scores, strict=True))["b#0"]
    assert cosine == pytest.approx(float(red @ pie), abs=1e-3)
    assert ask(synced, "red apple pie", k=1).scores[0] == pytest.approx(1, abs=1e-3)


def test_k_bounds_and_exhaustion_are_told(synced: AnyIndex) -> None:
    some = ask(synced, "red", k=2)
    assert len(some.chunk_ids) == 2
    assert not some.exhausted
    everything = ask(synced, "red apple car", k=50)
    assert set(everything.chunk_ids) == {"a#0", "a#1", "b#0", "c#0", "d#0"}
    assert everything.exhausted


@pytest.mark.parametrize("k", [2, 4, 50])
def test_many_queries_answer_as_each_alone(
    connection: postgres.Connection, synced: AnyIndex, k: int
) -> None:
    texts = ["red", "red apple pie", "green apple", "fast red car"]
    queries = texts if isinstance(synced, KeywordIndex) else list(HashEncoder().encode(texts))
    connection.execute("update documents set deleted_at = now() where document_id = 'c'")
    alone = [synced.query(query, k) for query in queries]
    assert len({tuple(ranking.chunk_ids) for ranking in alone}) > 1
    together = synced.query_many(queries, k)
    assert [ranking.chunk_ids for ranking in together] == [each.chunk_ids for each in alone]
    assert [ranking.exhausted for ranking in together] == [each.exhausted for each in alone]
    for ranking, each in zip(together, alone, strict=True):
        assert ranking.scores == pytest.approx(each.scores, abs=1e-6)
    assert synced.query_many([], k) == []


BOTH = And((In("metadata.n", ("1", 1)), In("metadata.s", ("x", 3))))
FILTERS = [
    (equal("collection", "food"), {"a", "b"}),
    (In("collection", ("food", "cars")), {"a", "b", "c", "d"}),
    (equal("collection", "none such"), set()),
    (In("label", ("drive", "bake")), {"b", "c"}),
    (Not(In("label", ("drive", "bake"))), {"a", "d"}),
    (created_between(YEAR[2021], None), {"b", "c"}),
    (created_between(None, YEAR[2021]), {"a"}),
    (created_between(YEAR[2020], YEAR[2022]), {"a", "b"}),
    (created_between(datetime(2022, 1, 1), None), {"c"}),  # noqa: DTZ001
    (Not(created_between(YEAR[2021], None)), {"a", "d"}),
    (equal("created_at", YEAR[2020]), {"a"}),
    (equal("metadata.n", 1), {"a", "c"}),
    (equal("metadata.n", 1.0), {"a", "c"}),
    (equal("metadata.n", 1.5), {"d"}),
    (equal("metadata.n", "1"), set()),
    (equal("metadata.n", True), set()),
    (Compare("metadata.n", ">", 1), {"b", "d"}),
    (Compare("metadata.n", "<=", 1.5), {"a", "c", "d"}),
    (Compare("metadata.s", ">=", 0), set()),
    (Not(Compare("metadata.s", ">=", 0)), {"a", "b", "c", "d"}),
    (In("metadata.n", ("2", 2)), {"b"}),
    (In("metadata.n", ("1", 1, 1.5)), {"a", "c", "d"}),
    (BOTH, {"a"}),
    (Not(BOTH), {"b", "c", "d"}),
    (And((In("metadata.n", (1, 2)), equal("metadata.ok", True))), {"b"}),
    (And((In("metadata.s", ("y", "x")), equal("metadata.n", 1))), {"a"}),
    (In("metadata.ok", ("1", 1)), set()),
    (equal("metadata.ok", True), {"b"}),
    (Not(equal("metadata.ok", True)), {"a", "c", "d"}),
    (equal("metadata.ok", 1), set()),
    (equal("metadata.s", 'q"[x]\\'), {"d"}),
    (
        all_of(
            equal("collection", "food"),
            In("label", ("eat", "drive")),
            created_between(YEAR[2019], YEAR[2023]),
            equal("metadata.n", 1),
        ),
        {"a"},
    ),
]


def test_every_index_filters_alike(connection: postgres.Connection, synced: AnyIndex) -> None:
    for filters, expected in FILTERS:
        found = ask(synced, "red apple", filters=filters, connection=connection)
        assert {chunk_id[0] for chunk_id in found.chunk_ids} == expected, filters
        assert found.exhausted


def test_a_narrow_filter_fills_k_far_from_the_query(
    connection: postgres.Connection, index: AnyIndex
) -> None:
    many = {f"m{number:03}": Doc((f"word {number}",), collection="many") for number in range(300)}
    rare = {f"r{number}": Doc((f"word rare {number}",), collection="rare") for number in range(3)}
    fill(connection, {**many, **rare})
    sync_index(connection, index)
    rare_ones = equal("collection", "rare")
    found = ask(index, "word 7", filters=rare_ones, connection=connection)
    assert set(found.chunk_ids) == {"r0#0", "r1#0", "r2#0"}
    assert found.exhausted
    many_ones = equal("collection", "many")
    assert len(ask(index, "word 7", filters=many_ones, connection=connection).chunk_ids) == 10


def test_a_wide_filter_walks_the_graph_and_falls_back(
    connection: postgres.Connection, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(connection, DOCS)
    index = PgvectorIndex(connection, generation)
    sync_index(connection, index)
    for name in ("NARROW", "WALKED"):
        monkeypatch.setattr(f"ml_assets.search.indexes.pgvector.index.{name}", 0)
    food = equal("collection", "food")
    some = ask(index, "red apple", 2, food)
    assert some.chunk_ids[0] == "a#0"
    assert not some.exhausted
    found = ask(index, "red apple", 10, food)
    assert set(found.chunk_ids) == {"a#0", "a#1", "b#0"}
    assert found.exhausted


def test_the_share_that_passes_decides_between_walking_and_comparing(
    connection: postgres.Connection, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {f"m{number:03}": Doc((f"word {number}",), collection="many") for number in range(28)}
    rare = {f"r{number}": Doc((f"word rare {number}",), collection="rare") for number in range(4)}
    fill(connection, {**many, **rare})
    index = PgvectorIndex(connection, generation)
    sync_index(connection, index)
    walk, shares = PgvectorIndex._passing_of_nearest, []

    def walked(index: PgvectorIndex, *asked: Any) -> Any:
        shares.append(asked[-1])
        return walk(index, *asked)

    monkeypatch.setattr(PgvectorIndex, "_passing_of_nearest", walked)
    module = "ml_assets.search.indexes.pgvector.index"
    # The walk is expected to look at 30 / share of 32 documents: at 34, and at 240.
    for narrow, walked_cost, expected in (
        (0, 0.01, [0.875, 0.125]),
        (0, 0.8, [0.875]),
        (0, 0.9, []),
        (28, 0.01, []),
    ):
        monkeypatch.setattr(f"{module}.NARROW", narrow)
        monkeypatch.setattr(f"{module}.WALKED", walked_cost)
        shares.clear()
        assert len(ask(index, "word 7", 10, equal("collection", "many")).chunk_ids) == 10
        assert len(ask(index, "word 7", 4, equal("collection", "rare")).chunk_ids) == 4
        assert shares == expected


def test_what_the_graph_does_not_reach_is_found_exactly(
    connection: postgres.Connection, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk ends at the first node, and three live far from it."""

    def narrowly(on: postgres.Connection, _: object) -> None:
        on.execute("set hnsw.ef_search = 1; set hnsw.iterative_scan = off")

    docs = {f"m{number:03}": Doc((f"word {number}",)) for number in range(400)}
    live = {f"r{number}": Doc((f"rare {number}",)) for number in range(3)}
    fill(connection, {**docs, **live})
    index = PgvectorIndex(connection, generation)
    sync_index(connection, index)
    dead = "update documents set deleted_at = now() where document_id = any(%s)"
    connection.execute(dead, [list(docs)])
    only_indexes(connection)
    monkeypatch.setattr("ml_assets.search.indexes.pgvector.index.search_with", narrowly)
    (vector,) = HashEncoder().encode(["word 7"])
    assert len(index._approximate(vector, 100, NO_FILTER)) < 3
    assert set(ask(index, "word 7", 3).chunk_ids) == {"r0#0", "r1#0", "r2#0"}


def test_a_long_metadata_value_is_found_by_equality(
    connection: postgres.Connection, index: AnyIndex
) -> None:
    long = "v" * 70_000
    fill(connection, {"l": replace(DOCS["a"], metadata={"k": long}), "m": DOCS["b"]})
    sync_index(connection, index)
    found = ask(index, "red apple", filters=equal("metadata.k", long), connection=connection)
    assert {chunk_id[0] for chunk_id in found.chunk_ids} == {"l"}


def test_what_a_document_lost_is_no_longer_found(
    connection: postgres.Connection, synced: AnyIndex
) -> None:
    put(connection, "a", Doc(("red apple", "green apple"), "Fruit", "food"))
    sync_index(connection, synced)
    for filters in (
        equal("label", "eat"),
        equal("metadata.s", "x"),
        created_between(None, YEAR[2021]),
    ):
        assert not ask(synced, "red apple", filters=filters, connection=connection).chunk_ids


def test_a_tombstone_leaves_every_answer(connection: postgres.Connection, synced: AnyIndex) -> None:
    connection.execute("update documents set deleted_at = now() where document_id = 'b'")
    sync_index(connection, synced)
    assert "b#0" not in ask(synced, "red apple pie").chunk_ids


def test_the_size_on_disk_is_told(connection: postgres.Connection, settings: Settings) -> None:
    """Where it can be measured: a server keeps it to itself."""
    generation = generation_of(connection, settings)
    fill(connection, DOCS)
    assert (sync_index(connection, PgvectorIndex(connection, generation)).bytes or 0) > 8192
    assert (
        sync_index(connection, KeywordIndex(settings.keyword_folder, generation)).bytes or 0
    ) > 100
    with chroma.connect(None, settings.home) as client:
        disk = chroma.embedded_folder(settings.home)
        assert (
            sync_index(connection, ChromaIndex(client, generation, disk=disk)).bytes or 0
        ) > 1000
        assert sync_index(connection, ChromaIndex(client, generation)).bytes is None


@pytest.mark.parametrize("kind", ["chroma", "faiss", "keyword"])
def test_a_query_of_a_missing_index_is_an_error(
    connection: postgres.Connection, settings: Settings, generation: Generation, kind: str
) -> None:
    if kind == "keyword":
        with pytest.raises(StoreError, match="keyword_index"):
            ask(KeywordIndex(settings.keyword_folder, generation))
    elif kind == "faiss":  # also of a generation that was published without it
        with pytest.raises(StoreError, match="faiss_index"):
            ask(FaissIndex(settings.faiss_folder, generation))
    else:
        with (
            chroma.connect(None, settings.home) as client,
            pytest.raises(StoreError, match="chroma_index"),
        ):
            ask(ChromaIndex(client, generation))
        with (
            chroma.connect(None, settings.home) as client,
            pytest.raises(StoreError, match="chroma_index"),
        ):
            ChromaIndex(client, generation).query_many(list(HashEncoder().encode(["a"])), 1)


@pytest.mark.parametrize(
    "open_index", [name for name in CHOICES if name != "keyword"], indirect=True
)
def test_vectors_of_another_dimension_are_refused(
    connection: postgres.Connection, open_index: OpenIndex
) -> None:
    fill(connection, DOCS)
    index = open_index()
    assert not isinstance(index, KeywordIndex)
    sync_index(connection, index)
    for shape in (8, (1, 16), (16, 1)):
        with pytest.raises(SpaceMismatchError, match="dimension 16"):
            index.query(np.ones(shape, dtype=np.float32), 3)


def test_every_index_searches_as_widely_as_its_generation_says(
    connection: postgres.Connection, settings: Settings
) -> None:
    fill(connection, {f"d{number}": Doc((f"word {number}",)) for number in range(20)})
    narrow, wide = (
        PgvectorIndex(
            connection,
            generation_of(connection, settings.model_copy(update={"hnsw_ef_search": beam})),
        )
        for beam in (20, 60)
    )
    sync_index(connection, narrow)

    def beam_after(index: PgvectorIndex) -> str:
        ask(index, k=5)
        row = connection.execute("show hnsw.ef_search").fetchone()
        return str(row and row[0])

    assert [beam_after(index) for index in (narrow, narrow, wide, narrow)] == [
        "20",
        "20",
        "60",
        "20",
    ]
    with connection.transaction(force_rollback=True):
        assert beam_after(wide) == "60"
        assert beam_after(narrow) == "20"
        assert beam_after(wide) == "60"
    assert beam_after(narrow) == "20"
    assert beam_after(wide) == "60"


def test_other_parameters_build_an_index_of_their_own(
    connection: postgres.Connection, generation: Generation, settings: Settings
) -> None:
    other = generation_of(connection, settings.model_copy(update={"hnsw_m": 8}))
    fill(connection, DOCS)
    assert sync_index(connection, PgvectorIndex(connection, generation)).delta.added == 5
    assert sync_index(connection, PgvectorIndex(connection, other)).delta.added == 5
    assert sync_index(connection, PgvectorIndex(connection, generation)).delta.added == 0


def texts_of(prefix: str, count: int) -> dict[str, Doc]:
    """Documents of one chunk and a vector each, every third in a collection of its own."""
    return {
        f"{prefix}{number}": Doc(
            (f"{prefix} word {number}",), collection="a" if number % 3 else "rare"
        )
        for number in range(count)
    }


EXACT = ["faiss flat", "pgvector ivfflat"]
"""Flat compares all; so does IVFFlat of one list, which few rows have."""


LEAST_RECALL = {name: 1.0 if name in EXACT else 0.9 for name in CHOICES if name != "keyword"}
LEAST_RECALL["pgvector binary"] = 0.8  # sixteen signs tell few vectors apart
CHANGES = st.lists(
    st.tuples(st.sampled_from(["add", "change", "remove"]), st.integers(0, 299)),
    min_size=1,
    max_size=12,
)
NARROW = equal("collection", "rare")


@settings_(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=4,
    derandomize=True,
)
@given(changes=CHANGES)
@pytest.mark.parametrize("open_index", list(LEAST_RECALL), indirect=True)
def test_after_any_changes_the_answers_are_those_of_exact_search(
    connection: postgres.Connection,
    open_index: OpenIndex,
    request: pytest.FixtureRequest,
    changes: list[tuple[str, int]],
) -> None:
    held = play(connection, open_index, changes)
    only_indexes(connection)
    index = open_index()
    assert ids(index) == held.keys()
    assert index.size() == len(held)
    assert sync_index(connection, index).delta == Delta(unchanged=len(held))
    chosen = request.node.callspec.params["open_index"]
    some = list(held)[:: len(held) // 20]
    for filters in (NO_FILTER, NARROW):
        recall = [compare(connection, index, one, held, filters) for one in some]
        assert np.mean(recall) >= LEAST_RECALL[chosen], filters
    index.close()


def play(
    connection: postgres.Connection, open_index: OpenIndex, changes: list[tuple[str, int]]
) -> dict[str, Doc]:
    """Bring the index to 300 documents, then through `changes`; return what it must hold."""
    docs = texts_of("d", 300)
    connection.execute("delete from document_embeddings; delete from documents")
    fill(connection, docs)
    index = open_index()
    sync_index(connection, index)
    for what, number in changes:
        name = f"d{number}" if what != "add" else f"new{number}"
        docs.pop(name, None)
        remove(connection, name)
        if what != "remove":
            docs[name] = Doc((f"{what} {number} {len(docs)}",), collection="rare")
            put(connection, name, docs[name])
    sync_index(connection, index)
    index.close()
    return {f"{name}#0": doc for name, doc in docs.items()}


def compare(
    connection: postgres.Connection,
    index: AnyIndex,
    asked: str,
    held: dict[str, Doc],
    filters: Condition,
) -> float:
    """Check an answer against all cosines; return how much of the ten nearest it has."""
    names = [name for name, doc in held.items() if filters == NO_FILTER or doc.collection == "rare"]
    query, *vectors = HashEncoder().encode(
        [held[asked].chunks[0], *(held[name].chunks[0] for name in names)]
    )
    cosines = dict(zip(names, (np.asarray(vectors) @ query).tolist(), strict=True))
    found = ask(index, held[asked].chunks[0], 10, filters, connection)
    assert len(found.chunk_ids) == 10
    assert not found.exhausted
    assert set(found.chunk_ids) <= cosines.keys()
    if asked in cosines:
        assert found.chunk_ids[0] == asked
    assert list(found.scores) == pytest.approx(
        [cosines[chunk_id] for chunk_id in found.chunk_ids], abs=5e-3
    )
    nearest = sorted(cosines, key=lambda name: -cosines[name])[:10]
    return len(set(nearest) & set(found.chunk_ids)) / 10
