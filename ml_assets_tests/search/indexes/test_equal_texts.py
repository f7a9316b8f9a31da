"""Equal texts: every index finds each of their chunks, and one stands for the others in a graph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_
from hypothesis import strategies as st

from ml_assets.delta import Delta
from ml_assets.search.evaluation.exact import recall_against_exact
from ml_assets.search.filters.language import NO_FILTER, Condition, In, Not
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.kinds import altered_entries, forget_altered, query_index, sync_index
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import chroma, postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.choices import CHOICES, AnyIndex, OpenIndex
from ml_assets_tests.search.corpus import Doc, fill, ids, remove
from ml_assets_tests.search.filters.conditions import equal
from ml_assets_tests.search.oracle import matches

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

TEXTS = [f"text {number}" for number in range(6)]
LABELS = ["x", "y", "z"]
FILTERS: list[Condition] = [
    NO_FILTER,
    *(equal("label", label) for label in LABELS),
    Not(equal("label", "x")),
    In("collection", ("b",)),
]
VECTORS = [name for name in CHOICES if name != "keyword"]


def same(count: int, **fields: Any) -> dict[str, Doc]:
    """Documents of one text."""
    return {f"n{number}": Doc(("No comment",), **fields) for number in range(count)}


def expected(docs: dict[str, Doc], text: str, condition: Condition) -> dict[str, float]:
    """The cosine of every chunk that passes."""
    passing = {f"{name}#0": doc for name, doc in docs.items() if matches(condition, doc)}
    query, *vectors = HashEncoder().encode([text, *(doc.chunks[0] for doc in passing.values())])
    return dict(zip(passing, [float(vector @ query) for vector in vectors], strict=True))


def check(
    connection: postgres.Connection, index: AnyIndex, docs: dict[str, Doc], text: str, k: int
) -> None:
    """Whatever the filter, the index gives the `k` nearest; which of equal ones is its own."""
    query = HashEncoder().encode([text])[0]
    for condition in FILTERS:
        cosines = expected(docs, text, condition)
        found: Any = query_index(connection, index, query, k, condition)
        assert len(set(found.chunk_ids)) == len(found.chunk_ids) == min(k, len(cosines))
        assert [cosines[name] for name in found.chunk_ids] == pytest.approx(
            sorted(cosines.values(), reverse=True)[:k], abs=5e-3
        )
        assert list(found.scores) == pytest.approx(
            [cosines[name] for name in found.chunk_ids], abs=5e-3
        )
        if k > len(cosines):
            assert found.exhausted


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 29),
        st.none() | st.tuples(st.sampled_from(TEXTS), st.sampled_from(LABELS), st.booleans()),
    ),
    max_size=25,
)


@settings_(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=10,
    derandomize=True,
)
@given(st.lists(CHANGES, min_size=1, max_size=3), st.sampled_from(TEXTS), st.integers(1, 40))
@pytest.mark.parametrize("open_index", VECTORS, indirect=True)
def test_after_any_changes_every_index_answers_as_brute_force(
    connection: postgres.Connection,
    open_index: OpenIndex,
    request: pytest.FixtureRequest,
    changes: list[list[tuple[int, tuple[str, str, bool] | None]]],
    text: str,
    k: int,
) -> None:
    """Thirty documents of six texts that come, go, and change text, label and collection."""
    connection.execute("delete from document_embeddings; delete from documents")
    docs = {"stays": Doc(("text of its own",))}
    index = open_index()
    for some in changes:
        for number, written in some:
            if written is None:
                docs.pop(f"d{number}", None)
                remove(connection, f"d{number}")
            else:
                said, label, is_b = written
                docs[f"d{number}"] = Doc((said,), label=label, collection="b" if is_b else "a")
        fill(connection, docs)
        sync_index(connection, index)
        assert ids(index) == {f"{name}#0" for name in docs}
        assert index.size() == len(docs)
        assert altered_entries(connection, index) == []
        check(connection, index, docs, text, k)
    assert sync_index(connection, index).delta == Delta(unchanged=len(docs))
    if isinstance(index, ChromaIndex):
        assert_each_vector_once(index, docs)
    index.close()


def assert_each_vector_once(index: ChromaIndex, docs: dict[str, Doc]) -> None:
    """The graph has one chunk of each text."""
    graph = index._find()
    assert graph is None or graph.count() == len({doc.chunks[0] for doc in docs.values()})


@pytest.mark.parametrize("open_index", ["chroma", "chroma server"], indirect=True)
def test_a_graph_reaches_all_of_a_corpus_with_many_equal_texts(
    connection: postgres.Connection, generation: Generation, open_index: OpenIndex
) -> None:
    """Two of five are equal, as in a survey that many leave without a comment."""
    others = {f"r{number}": Doc((f"My own words {number}",)) for number in range(1200)}
    fill(connection, others | same(800))
    index = open_index()
    assert isinstance(index, ChromaIndex)
    sync_index(connection, index)
    report = recall_against_exact(connection, generation, {index.kind: index})
    assert report.reached[index.kind] == 1.0
    assert report.recall[index.kind] > 0.98
    (vector,) = HashEncoder().encode(["No comment"])
    nearest = index.query(vector, 801)
    assert {name for name in nearest.chunk_ids if name.startswith("n")} == {
        f"n{number}#0" for number in range(800)
    }
    assert nearest.scores[799] == pytest.approx(1.0, abs=1e-3)
    assert nearest.scores[800] < 0.99


def test_the_one_in_the_graph_leaves_and_the_others_are_found(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    docs = same(5, label="x") | {"other": Doc(("Another",), label="x")}
    fill(connection, docs)
    with chroma.connect(None, settings.home) as client:
        index = ChromaIndex(client, generation)
        sync_index(connection, index)
        while len(docs) > 1:
            (head,) = graph_of(client, index) - {"other#0"}
            del docs[head.removesuffix("#0")]
            remove(connection, head.removesuffix("#0"))
            assert sync_index(connection, index).delta.removed == 1
            check(connection, index, docs, "No comment", 10)
        assert index._copies.size() == 0


def graph_of(client: ClientAPI, index: ChromaIndex) -> set[str]:
    return set(client.get_collection(index.name).get()["ids"])


def test_other_metadata_of_a_copy_write_no_vector(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docs = same(5, label="x", metadata={"n": 1, "m": 2})
    fill(connection, docs)
    with chroma.connect(None, settings.home) as client:
        index = ChromaIndex(client, generation)
        sync_index(connection, index)
        docs = {name: replace(doc, label="y", metadata={"n": 3}) for name, doc in docs.items()}
        fill(connection, docs)

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a vector was written again")

        monkeypatch.setattr("chromadb.api.models.Collection.Collection.upsert", refuse)
        sync_index(connection, index)
        check(connection, index, docs, "No comment", 10)
        for condition, found in ((equal("metadata.n", 3), 5), (equal("metadata.m", 2), 0)):
            query = HashEncoder().encode(["No comment"])[0]
            assert len(index.query(query, 10, condition).chunk_ids) == found


def test_more_copies_than_are_read_at_once_are_found(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ml_assets.search.indexes.chroma.copies._AT_ONCE", 20)
    docs = same(50) | {f"r{number}": Doc((f"Words {number % 20}",)) for number in range(40)}
    fill(connection, docs)
    with chroma.connect(None, settings.home) as client:
        index = ChromaIndex(client, generation)
        sync_index(connection, index)
        for text in ("No comment", "Words 3"):
            for k in (5, 60, 100):
                check(connection, index, docs, text, k)
        vectors = HashEncoder().encode(["No comment", "Words 3"])
        for vector, many in zip(vectors, index.query_many(list(vectors), 30), strict=True):
            assert list(many.scores) == pytest.approx(list(index.query(vector, 30).scores))


@pytest.mark.parametrize("what", ["head", "copy", "vector", "all copies"])
def test_what_another_hand_took_is_written_again(
    connection: postgres.Connection, settings: Settings, generation: Generation, what: str
) -> None:
    docs = same(5)
    fill(connection, docs)
    with chroma.connect(None, settings.home) as client:
        index = ChromaIndex(client, generation)
        sync_index(connection, index)
        graph = client.get_collection(index.name)
        (head,) = graph.get()["ids"]
        copies = client.get_collection(f"{index.name}-copies")
        if what == "head":
            graph.delete(ids=[head])
        elif what == "copy":
            copies.delete(ids=copies.get()["ids"][:1])
        elif what == "vector":
            other: Any = HashEncoder().encode(["another"])
            graph.update(ids=[head], embeddings=other)
        else:
            client.delete_collection(copies.name)
        index.close()
        forget_altered(connection, index)
        sync_index(connection, index)
        check(connection, index, docs, "No comment", 10)
        assert_each_vector_once(index, docs)


def test_copies_of_an_index_that_was_lost_are_not_kept(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    fill(connection, same(5))
    with chroma.connect(None, settings.home) as client:
        index = ChromaIndex(client, generation)
        sync_index(connection, index)
        client.delete_collection(index.name)
        remove(connection, "n3", "n4")
        index.close()
        assert index.size() == 0
        assert sync_index(connection, index).delta == Delta(added=3)
        assert ids(index) == {"n0#0", "n1#0", "n2#0"}


def test_a_store_with_copies_is_copied_whole(
    connection: postgres.Connection, settings: Settings, generation: Generation, tmp_path: Any
) -> None:
    docs = same(5)
    fill(connection, docs)
    with (
        chroma.connect(None, settings.home) as client,
        chroma.connect(None, tmp_path / "other") as other,
    ):
        index = ChromaIndex(client, generation)
        sync_index(connection, index)
        chroma.copy_collections(client, other)
        chroma.copy_collections(client, other)
        copied = ChromaIndex(other, generation)
        assert sync_index(connection, copied).delta == Delta(unchanged=5)
        check(connection, copied, docs, "No comment", 10)
        assert copied.drop()
        assert other.list_collections() == []
