import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml_assets.errors import NothingToDoError, SpaceMismatchError, StoreError, UserError
from ml_assets.search.answering.engine import (
    DEPTHS,
    ask_ahead,
    open_beside,
    open_engine,
    search,
    search_vector,
    similar,
)
from ml_assets.search.answering.model import METHODS, Ahead, Engine, Method
from ml_assets.search.answering.ranking import FEEDBACK_WEIGHT, rank_moved
from ml_assets.search.filters.language import (
    METADATA,
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
from ml_assets.search.indexes.contract import Ranking
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.search.model import Fusion, Generation
from ml_assets.session import open_session
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder, other_space
from ml_assets_tests.search.corpus import Doc, fill, generation_of, remove, sync_all
from ml_assets_tests.search.filters.conditions import equal
from ml_assets_tests.search.measurements import publish
from ml_assets_tests.search.oracle import matches

DOCS = {
    "argparse": Doc(
        ("Parser for command line options.", "Arguments are parsed from the command line."),
        "argparse",
        "text",
        "cli",
        datetime(2021, 5, 1, tzinfo=UTC),
        {"kind": "module"},
    ),
    "socket": Doc(("Low-level networking.",), "socket", "net", "net", metadata={"kind": "module"}),
    "shlex": Doc(("Lexical analysis of command lines.",), "shlex", "text", "cli"),
}


ASKED = json.loads(Path(__file__).parents[1].joinpath("languages.json").read_text("utf-8"))
"""Texts in scripts that the bundled model does not know, each with a question in other forms of
its words, by language and subject."""

FOREIGN = {
    "database": Doc(("数据库连接超时时请检查防火墙设置",), collection="zh"),
    "printer": Doc(("打印机无法启动请更换墨盒",), collection="zh"),
    "thai": Doc(("เครื่องพิมพ์ไม่ทำงานกรุณาตรวจสอบสายไฟ",), collection="th"),
    "english": Doc(("The database is slow.",), collection="en"),
}


@pytest.fixture
def published(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> Generation:
    fill(connection, DOCS)
    sync_all(connection, settings, generation)
    publish(connection, generation)
    return generation


@pytest.fixture
def engine(
    connection: postgres.Connection, settings: Settings, published: Generation
) -> Iterator[Engine]:
    with open_engine(connection, Indexes(settings)) as opened:
        yield opened


def ids(engine: Engine, query: str, **options: object) -> list[str]:
    result = search(engine, query, HashEncoder(), **options)  # type: ignore[arg-type]
    return [hit.document_id for hit in result.hits]


def test_a_hit_tells_where_it_came_from(engine: Engine) -> None:
    engine.connection.execute(
        "update chunks set path = '{Parsing,Lists}' where chunk_id = 'argparse#1'"
    )
    result = search(engine, "Arguments are parsed from the command line.", HashEncoder(), k=1)
    (hit,) = result.hits
    assert hit.document_id == "argparse"
    assert (hit.title, hit.collection, hit.label) == ("argparse", "text", "cli")
    assert (hit.keyword_rank, hit.vector_rank) == (1, 1)
    assert (hit.chunk_index, hit.path) == (1, ["Parsing", "Lists"])
    assert hit.snippet == "Arguments are parsed from the command line."
    assert hit.score == pytest.approx(1, abs=1e-3)
    assert hit.rerank_score is None
    assert hit.text == hit.snippet
    assert (hit.metadata, hit.created_at) == ({"kind": "module"}, DOCS["argparse"].created_at)
    assert hit.observed_at is not None
    assert hit.vector_score == pytest.approx(1, abs=1e-3)
    assert (hit.keyword_score or 0) > 1
    assert (result.complete, result.behind) == (True, 0)
    assert result.generation_id == engine.generation.generation_id


@pytest.mark.parametrize("method", ["hybrid", "vector", "keyword"])
def test_every_method_finds_and_names_its_ranks(engine: Engine, method: Method) -> None:
    result = search(engine, "Low-level networking.", HashEncoder(), method=method)
    assert result.hits[0].document_id == "socket"
    assert (result.hits[0].keyword_rank is None) == (method == "vector")
    assert (result.hits[0].vector_rank is None) == (method == "keyword")


def test_a_script_that_the_model_does_not_know_is_searched_by_words_alone(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    fill(connection, FOREIGN)
    sync_all(connection, settings, generation)
    publish(connection, generation)
    with open_engine(connection, Indexes(settings)) as engine:
        assert ids(engine, "数据库") == ["database"]
        assert not ids(engine, "公园散步"), "there are no such words"
        assert ids(engine, "the database") == ids(engine, "the database", k=len(FOREIGN))
        assert {*ids(engine, "the database")} == FOREIGN.keys()
        (hit,) = search(engine, "数据库", HashEncoder()).hits
        assert (hit.relevance, hit.vector_rank, hit.keyword_rank) == (None, None, 1)
        assert search(engine, "数据库", HashEncoder()).method == "keyword"
        reranker = ByLength()
        search(replace(engine, reranker=reranker), "数据库", HashEncoder())
        assert not reranker.asked, "it compares meanings, too"
        assert search(engine, "数据库 of python", HashEncoder()).method == "hybrid"
        assert {*ids(engine, "数据库", method="vector")} == FOREIGN.keys(), "as it was asked for"
        with pytest.raises(UserError, match="does not know the script of the query"):
            search(engine, "数据库", HashEncoder(), min_relevance=0.1)


def test_a_question_in_any_script_finds_its_document_first(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    fill(connection, {name: Doc((text,)) for name, (text, _) in ASKED.items()})
    sync_all(connection, settings, generation)
    publish(connection, generation)
    with open_engine(connection, Indexes(settings)) as engine:
        first = {name: ids(engine, question, k=1) for name, (_, question) in ASKED.items()}
    assert first == {name: [name] for name in ASKED}


def test_relevance_compares_across_queries(engine: Engine) -> None:
    """The first score of every hybrid search is about 1; relevance follows the cosine."""
    for method in ("hybrid", "vector"):
        for query in ("Low-level networking.", "zzz qqq"):
            hits = search(engine, query, HashEncoder(), method=method).hits  # type: ignore[arg-type]
            assert {hit.document_id for hit in hits} == DOCS.keys()
            for hit in hits:
                best = max(cosine(query, text) for text in DOCS[hit.document_id].chunks)
                assert hit.vector_score == pytest.approx(best, abs=2e-3)
                assert hit.relevance == pytest.approx(max(best, 0), abs=2e-3)
    assert search(engine, "networking", None, method="keyword").hits[0].relevance is None


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("depth", [1, 100])
def test_what_is_less_relevant_is_left_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, feedback: bool, depth: int
) -> None:
    monkeypatch.setattr("ml_assets.search.answering.engine.DEPTHS", (depth, 100))
    query = "command lines networking"
    moved = replace(engine, fusion=Fusion(feedback=feedback))
    nearest = {name: max(cosine(query, text) for text in doc.chunks) for name, doc in DOCS.items()}
    for method in ("hybrid", "vector"):
        for least in sorted(nearest.values()):
            expected = {name for name, best in nearest.items() if best >= least - 2e-3}
            found = search(
                moved,
                query,
                HashEncoder(),
                method=method,  # type: ignore[arg-type]
                min_relevance=max(least - 2e-3, 0),
            )
            assert {hit.document_id for hit in found.hits} == expected
            assert found.complete


def test_a_least_relevance_needs_vectors_and_is_0_to_1(engine: Engine) -> None:
    with pytest.raises(UserError, match="words alone tell no relevance"):
        search(engine, "command", None, method="keyword", min_relevance=0.5)
    with pytest.raises(UserError, match=r"0 to 1, not 1.5"):
        search(engine, "command", HashEncoder(), min_relevance=1.5)


def test_a_result_tells_what_waits_to_be_indexed(
    connection: postgres.Connection, settings: Settings, published: Generation
) -> None:
    new = {f"new{n}": Doc(("Novelword appears.",), "New", "text", "cli") for n in range(3)}
    fill(connection, new)
    with open_engine(connection, Indexes(settings)) as engine:

        def told(**options: object) -> tuple[int, bool]:
            found = search(engine, "novelword", None, method="keyword", **options)  # type: ignore[arg-type]
            assert not found.hits
            return found.behind, found.complete

        assert told() == (3, False)
        assert told(filters=equal("label", "cli")) == (3, False)
        assert told(filters=equal("collection", "net")) == (3, True), "none of them could pass"
    sync_all(connection, settings, published)
    with open_engine(connection, Indexes(settings)) as engine:
        found = search(engine, "novelword", None, method="keyword")
        assert len(found.hits) == 3
        assert (found.behind, found.complete) == (0, True)
        for change in ("content_hash = 'x'", "label = 'net'"):  # its chunks, or its fields
            connection.execute(f"update documents set {change} where document_id = 'new0'")
            connection.execute("update documents set changed_at = now() where document_id = 'new0'")
            found = search(engine, "novelword", None, method="keyword")
            assert (found.behind, found.complete) == (1, False)
            connection.execute("update documents set content_hash = ''")
        sync_all(connection, settings, published)
        assert search(engine, "novelword", None, method="keyword").behind == 0
        connection.execute("delete from document_embeddings where chunk_id = 'new1#0'")
        connection.execute("update documents set changed_at = now() where document_id = 'new1'")
        sync_all(connection, settings, published)
        assert search(engine, "novelword", None, method="keyword").behind == 1, "not embedded"


def test_what_is_indexed_while_a_search_goes_on_counts_as_waiting(
    connection: postgres.Connection,
    settings: Settings,
    published: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(connection, {"new": Doc(("Novelword appears.",), "New", "text", "cli")})
    with open_engine(connection, Indexes(settings)) as engine:
        real = type(engine.keyword).query

        def overtaken(*asked: Any) -> Ranking:
            ranking = real(*asked)
            sync_all(connection, settings, published)
            return ranking

        monkeypatch.setattr(type(engine.keyword), "query", overtaken)
        found = search(engine, "novelword", None, method="keyword")
    assert (found.hits, found.behind, found.complete) == ((), 1, False)


def test_chroma_answers_when_the_settings_say_so(
    connection: postgres.Connection, settings: Settings, published: Generation
) -> None:
    chosen = settings.model_copy(update={"vector_index": "chroma"})
    with open_engine(connection, Indexes(chosen)) as engine:
        assert isinstance(engine.vector, ChromaIndex)
        assert ids(engine, "Low-level networking.", method="vector")[0] == "socket"


def test_a_document_stands_once_however_many_of_its_chunks_match(engine: Engine) -> None:
    found = ids(engine, "command line", method="keyword")
    assert sorted(found) == ["argparse", "shlex"]


def test_filters_reach_every_method(engine: Engine) -> None:
    for method in ("hybrid", "vector", "keyword"):
        for filters, expected in [
            (equal("collection", "net"), {"socket"}),
            (all_of(equal("label", "cli"), equal("metadata.kind", "module")), {"argparse"}),
            (Not(equal("metadata.kind", "module")), {"shlex"}),
            (created_between(datetime(2021, 1, 1, tzinfo=UTC), None), {"argparse"}),
        ]:
            query = "command line networking"
            result = search(engine, query, HashEncoder(), method=method, filters=filters)  # type: ignore[arg-type]
            assert {hit.document_id for hit in result.hits} == expected
            assert result.complete


PASSING: list[Condition] = [
    Compare("metadata.n", "<", 30),
    Compare("metadata.n", "<", 3),
    Compare("metadata.n", ">=", 60),
    Not(equal("metadata.odd", True)),
    Or((Compare("metadata.n", ">", 55), And((equal("label", "x"), Not(In("metadata.n", (0,))))))),
]


@pytest.mark.parametrize("vector_index", ["pgvector", "chroma"])
def test_a_filtered_result_has_k_documents_or_all_that_pass(
    connection: postgres.Connection, settings: Settings, generation: Generation, vector_index: str
) -> None:
    docs = {
        f"d{n}": Doc(
            (f"word {n}",), label="x" if n < 7 else None, metadata={"n": n, "odd": n % 2 > 0}
        )
        for n in range(60)
    }
    fill(connection, docs)
    sync_all(connection, settings, generation)
    publish(connection, generation)
    chosen = settings.model_copy(update={"vector_index": vector_index})
    with open_engine(connection, Indexes(chosen)) as engine:
        for filters, method, k in product(PASSING, METHODS, (1, 5, 100)):
            passing = {name for name, doc in docs.items() if matches(filters, doc)}
            found = search(engine, "word", HashEncoder(), k=k, method=method, filters=filters)
            assert found.complete
            assert len(found.hits) == min(k, len(passing))
            assert {hit.document_id for hit in found.hits} <= passing


UNKNOWN: list[tuple[Condition, str]] = [
    (
        equal("metadata.knid", "module"),
        r"no document has metadata 'knid'. Did you mean kind \(a text\)\?$",
    ),
    (equal("metadata.zz", "module"), r"no document has metadata 'zz'. Known: kind \(a text\)$"),
    (Not(equal("metadata.knid", "module")), "no document has metadata 'knid'"),
    (
        equal("metadata.label", "x"),
        r"'label'; it is a field of its own. Use --label, or label in --filter$",
    ),
    (equal("metadata.created_at", "x"), "Use --since and --until, or created_at in --filter$"),
    (equal("metadata.kind", 1), "metadata.kind is never a number. Compare it with a text"),
    (
        In("metadata.kind", (1, True)),
        "metadata.kind is never a number or true or false. Compare it with a text",
    ),
    (Compare("metadata.kind", "<", 1), "metadata.kind is never a number. Compare it with a text"),
    (equal("metadata.kin", "module"), r"Did you mean kind \(a text\)\?$"),
    (
        equal("collection", "texts"),
        r"no document has the collection 'texts'. Did you mean 'text'\?$",
    ),
    (equal("collection", "TEXT"), r"Did you mean 'text'\?$"),
    (equal("label", "nowhere"), "no document has the label 'nowhere'. Known: cli, net$"),
    (Not(equal("label", "nets")), "Did you mean 'net'"),
    (In("label", ("cli", "nets")), "no document has the label 'nets'"),
    (In("label", tuple(f"l{n}" for n in range(50))), "no document has the label 'l0'"),
]


@pytest.mark.parametrize(("filters", "said"), UNKNOWN)
def test_what_no_document_has_is_refused(engine: Engine, filters: Condition, said: str) -> None:
    with pytest.raises(UserError, match=said):
        search(engine, "command", HashEncoder(), filters=filters)


def test_of_many_names_the_closest_are_shown(
    connection: postgres.Connection, engine: Engine
) -> None:
    named = {f"z{n}": Doc(("word",), label=f"label {n}", metadata={f"k{n}": 1}) for n in range(9)}
    fill(connection, named)
    with pytest.raises(UserError, match=r"Of 11 the closest: label \d, [^,]*(, [^,]*){3}$"):
        search(engine, "command", HashEncoder(), filters=equal("label", "la 1234"))
    with pytest.raises(UserError, match=r"Of 10 the closest: k\d \(a number\)(, [^,]*){4}$"):
        search(engine, "command", HashEncoder(), filters=equal("metadata.1k-xyz", 1))


def test_of_many_labels_one_suffices(engine: Engine) -> None:
    """A program's list may run ahead of the documents."""
    asked = In("label", ("net", *(f"l{number}" for number in range(50))))
    assert ids(engine, "command", filters=asked) == ["socket"]


def test_one_of_several_types_suffices(engine: Engine) -> None:
    asked = In("metadata.kind", (1, "module"))
    assert set(ids(engine, "command", filters=asked)) == {"argparse", "socket"}


def test_the_dead_are_not_shown_even_before_the_next_sync(
    connection: postgres.Connection, engine: Engine
) -> None:
    assert "shlex" in ids(engine, "command lines")
    remove(connection, "shlex")
    connection.execute("update documents set deleted_at = now() where document_id = 'socket'")
    for method in ("hybrid", "vector", "keyword"):
        assert ids(engine, "command lines networking", method=method) == ["argparse"]


def test_many_chunks_of_one_document_do_not_hide_the_others(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    """One document owns all of the first chunks asked for; the search goes deeper."""
    many = tuple(f"word word word {number}" for number in range(DEPTHS[0] + 20))
    others = {f"other{number}": Doc((f"one word among {number} others",)) for number in range(3)}
    fill(connection, {"long": Doc(many), **others})
    sync_all(connection, settings, generation)
    with open_engine(connection, Indexes(settings), generation) as engine:
        result = search(engine, "word", None, k=3, method="keyword")
    assert len(result.hits) == 3
    assert result.hits[0].document_id == "long"
    assert result.complete


def test_an_unfilled_result_says_so(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ml_assets.search.answering.engine.DEPTHS", (5,))
    fill(connection, {"long": Doc(tuple(f"word {n}" for n in range(9))), "b": Doc(("word",), "b")})
    sync_all(connection, settings, generation)
    with open_engine(connection, Indexes(settings), generation) as engine:
        assert search(engine, "word 1", None, k=1, method="keyword").complete
        assert not search(engine, "word 1", None, k=4, method="keyword").complete


def test_a_single_index_keeps_its_own_scores(engine: Engine) -> None:
    query = "Low-level networking."
    found = search(engine, query, HashEncoder(), method="vector").hits
    assert found[0].score == pytest.approx(1, abs=1e-3)
    assert search(engine, query, HashEncoder(), method="keyword").hits[0].score > 1


def test_the_tuned_fusion_is_the_one_that_is_served(
    connection: postgres.Connection, settings: Settings, published: Generation
) -> None:
    query = "Low-level networking."
    for weight in (0.25, 0.75):
        publish(connection, published, fusion=Fusion("rrf", weight))
        with open_engine(connection, Indexes(settings)) as engine:
            shlex = search(engine, f"{query} lexical", HashEncoder()).hits
            of = {hit.document_id: hit for hit in shlex}["shlex"]
            ranks = of.keyword_rank or 0, of.vector_rank or 0
            expected = weight / (60 + ranks[0]) + (1 - weight) / (60 + ranks[1])
            assert of.score == pytest.approx(expected)


def test_feedback_ranks_what_either_index_found(engine: Engine) -> None:
    (vector,) = HashEncoder().encode(["networking"])
    words, near = Ranking(["socket#0"], [3.0], exhausted=False), Ranking((), (), exhausted=False)
    alone = rank_moved(engine, {"keyword": words, "vector": near}, vector)
    assert list(alone.chunk_ids) == ["socket#0"]
    assert not alone.exhausted
    nothing = Ranking((), (), exhausted=True)
    assert rank_moved(engine, {"keyword": nothing, "vector": nothing}, vector).chunk_ids == []
    # What the first ones have no vector of does not move it.
    gone = Ranking(["gone#0"], [1.0], exhausted=False)
    found = engine.vector.query(vector, 2)
    still = rank_moved(engine, {"keyword": gone, "vector": nothing}, vector)
    assert still.chunk_ids == []
    one = replace(found, chunk_ids=found.chunk_ids[:1], scores=found.scores[:1])
    moved = rank_moved(engine, {"keyword": nothing, "vector": one}, vector)
    assert moved.scores[0] >= one.scores[0] - 1e-3


def test_words_can_be_matched_before_there_is_a_vector(engine: Engine) -> None:
    (vector,) = HashEncoder().encode_queries(["command lines"])
    asked: dict[str, Any] = {"k": 2, "filters": equal("collection", "text")}
    ahead = ask_ahead(engine, "command lines", **asked)
    found = search_vector(engine, "command lines", vector, **asked, ahead=ahead)
    assert found == search_vector(engine, "command lines", vector, **asked)
    other = Ahead(ahead.waiting, Ranking(["socket#0"], [1.0], exhausted=True))
    shown = search_vector(engine, "command lines", vector, ahead=other).hits
    assert {hit.document_id: hit.keyword_rank for hit in shown}["socket"] == 1


def test_words_are_looked_for_while_the_query_is_encoded(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched, waited = Event(), list[bool]()
    real = type(engine.keyword).query

    def noted(*asked: Any) -> Ranking:
        ranking = real(*asked)
        matched.set()
        return ranking

    class Slow(HashEncoder):
        def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
            waited.append(matched.wait(10))
            return super().encode_queries(texts)

    monkeypatch.setattr(type(engine.keyword), "query", noted)
    found = search(engine, "command lines", Slow())
    assert waited == [True]
    (vector,) = HashEncoder().encode_queries(["command lines"])
    assert found == search_vector(engine, "command lines", vector)


def test_under_a_filter_the_first_look_is_shorter(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = type(engine.keyword).query

    def noted(self: Any, text: str, k: int, *filters: Any) -> Ranking:
        asked.append(k)
        return real(self, text, k, *filters)

    monkeypatch.setattr(type(engine.keyword), "query", noted)
    of_one = equal("collection", "net")
    for k, filters in ((10, NO_FILTER), (10, of_one), (60, of_one), (100, of_one)):
        search(engine, "networking", HashEncoder(), k=k, filters=filters)
    assert asked == [70, 50, 60, 70]


def test_feedback_moves_the_query_towards_what_was_found_first(engine: Engine) -> None:
    query = "networking"
    moved = replace(engine, fusion=Fusion("tmm", 0.0, feedback=True))
    found = search(moved, query, HashEncoder()).hits
    # What shows the first two is what they are nearest by.
    still = replace(engine, fusion=Fusion(feedback=False))
    first = [hit.document_id for hit in search(still, query, HashEncoder(), k=2).hits]
    shown = {
        document_id: max(DOCS[document_id].chunks, key=lambda text: cosine(query, text))
        for document_id in first
    }
    (asked,), texts = HashEncoder().encode([query]), HashEncoder().encode(list(shown.values()))
    towards = asked + FEEDBACK_WEIGHT * texts.mean(axis=0)
    towards /= np.linalg.norm(towards)
    nearest = {
        document_id: max(towards @ vector for vector in HashEncoder().encode(doc.chunks))
        for document_id, doc in DOCS.items()
    }
    best_first = sorted(nearest, key=lambda document_id: -nearest[document_id])
    assert [hit.document_id for hit in found] == best_first
    expected = [max(nearest[name], 0) / nearest[best_first[0]] for name in best_first]
    assert [hit.score for hit in found] == pytest.approx(expected, abs=2e-3)
    # The methods of one index are left alone.
    for method in ("vector", "keyword"):
        assert search(moved, query, HashEncoder(), method=method) == search(  # type: ignore[arg-type]
            engine,
            query,
            HashEncoder(),
            method=method,  # type: ignore[arg-type]
        )


def cosine(one: str, other: str) -> float:
    first, second = HashEncoder().encode([one, other])
    return float(first @ second)


class ByLength:
    """Prefers the text that is longest."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Sequence[str]]] = []

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        self.asked.append((query, texts))
        return [float(len(text)) for text in texts]


def test_a_reranker_reorders_the_first_documents_of_a_hybrid_search(engine: Engine) -> None:
    reranker = ByLength()
    query = "command line networking"
    plain = search(engine, query, HashEncoder()).hits
    ordered = search(replace(engine, reranker=reranker), query, HashEncoder()).hits
    (asked, texts) = reranker.asked[0]
    assert asked == query
    assert "socket\nLow-level networking." in texts
    lengths = [hit.rerank_score for hit in ordered]
    assert lengths == sorted(map(float, map(len, texts)), reverse=True)
    assert {hit.document_id for hit in ordered} == {hit.document_id for hit in plain}
    assert [hit.score for hit in ordered] != [hit.score for hit in plain]
    # It reads two documents, also when one is asked for; the others keep their places.
    two = replace(engine, reranker=reranker, rerank_top=2)
    first = search(two, query, HashEncoder()).hits
    assert first[2].document_id == plain[2].document_id
    assert first[2].rerank_score is None
    assert search(two, query, HashEncoder(), k=1).hits == first[:1]
    search(two, query, HashEncoder(), method="vector")
    search(two, query, HashEncoder(), method="keyword")
    assert len(reranker.asked) == 3


WRONG = [
    ({"query": "  "}, "the query is empty"),
    ({"query": "\udcff"}, "the query is not valid Unicode"),
    ({"query": "x", "k": 0}, "--limit: 0 documents were asked for. Ask for 1 to 100"),
    ({"query": "x", "k": 101}, "--limit: 101 documents were asked for"),
    ({"query": "x", "method": "magic"}, "no method 'magic'"),
]


@pytest.mark.parametrize(("request_", "said"), WRONG)
def test_bad_requests_get_a_clear_line(
    engine: Engine, request_: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        search(engine, encoder=HashEncoder(), **request_)  # type: ignore[arg-type]


def test_vectors_of_another_space_never_meet(engine: Engine) -> None:
    with pytest.raises(SpaceMismatchError, match=r"ML_ASSETS_EMBEDDING_MODEL.*is of space"):
        search(engine, "x", HashEncoder(other_space()))
    with pytest.raises(UserError, match="needs an encoder"):
        search(engine, "x", None)


def test_nothing_published_is_said(connection: postgres.Connection, settings: Settings) -> None:
    with (
        pytest.raises(NothingToDoError, match="ml-assets run"),
        open_engine(connection, Indexes(settings)),
    ):
        pass


def test_only_the_published_generation_answers_unless_one_is_given(
    connection: postgres.Connection, settings: Settings, published: Generation
) -> None:
    other = generation_of(connection, settings.model_copy(update={"hnsw_m": 8}))
    with open_engine(connection, Indexes(settings)) as engine:
        assert engine.generation.generation_id == published.generation_id
    with open_engine(connection, Indexes(settings), other) as engine:
        assert engine.generation == other
        with pytest.raises(StoreError, match="no keyword index"):
            search(engine, "x", None, method="keyword")


# Pieces of SQL and of query languages, and what no store can hold.
PIECES = ["'; drop table ml_schema.chunks; --", "%s", "%(k)s", "{filter}", "\\'", "$$", '"', "\0"]
SQL = st.sampled_from([*PIECES, "title:x AND (", "* ~2 [1 TO", "\udcff"])
TEXTS = st.one_of(
    st.text(min_size=1),
    st.lists(st.one_of(SQL, st.text(max_size=5)), min_size=1).map(" ".join),
)


@pytest.mark.parametrize("piece", PIECES[:-1])
def test_a_piece_of_another_language_is_a_word_like_others(engine: Engine, piece: str) -> None:
    for method in ("hybrid", "keyword"):
        hits = search(engine, f"{piece} networking", HashEncoder(), method=method).hits  # type: ignore[arg-type]
        assert "socket" in {hit.document_id for hit in hits}
    passing = In("metadata.kind", (piece, "module"))
    hits = search(engine, "command", HashEncoder(), filters=passing).hits
    assert {hit.document_id for hit in hits} == {"argparse", "socket"}


# One engine serves all the examples: a search changes nothing.
@settings_(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TEXTS)
def test_no_text_breaks_a_search_or_injects_sql(engine: Engine, text: str) -> None:
    """As query, as collection, label, metadata key and value: found, not found, or refused."""
    for method in ("hybrid", "keyword"):
        with suppress(UserError):
            found = search(engine, text, HashEncoder(), method=method)  # type: ignore[arg-type]
            assert all(np.isfinite(hit.score) for hit in found.hits)
    for field, values in (
        ("collection", (text,)),
        ("label", ("cli", text)),
        (METADATA + text, ("module",)),
        ("metadata.kind", (text, "module")),
    ):
        with suppress(UserError):
            search(engine, "command", HashEncoder(), filters=In(field, values))
    count = engine.connection.execute(
        "select count(*) from documents join chunks using (document_id)"
    ).fetchone()
    assert count == (4,)


def test_a_bad_request_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        open_session(load_settings(home=home)) as session,
        pytest.raises(UserError, match="--limit: 0 documents were asked for"),
    ):
        session.search("x", k=0)
    assert not home.exists()


def test_similar_documents_are_the_nearest_others(engine: Engine) -> None:
    found = similar(engine, "argparse", k=2)
    assert {hit.document_id for hit in found.hits} == {"socket", "shlex"}
    assert found.complete
    scores = [hit.vector_score or 0.0 for hit in found.hits]
    assert scores == sorted(scores, reverse=True)
    (only,) = similar(engine, "argparse", k=1).hits
    assert only == found.hits[0]
    few = similar(engine, "argparse", k=5)
    assert (len(few.hits), few.complete) == (2, True)
    of_one = similar(engine, "argparse", filters=In("label", ("net",)))
    assert [hit.document_id for hit in of_one.hits] == ["socket"]
    with pytest.raises(NothingToDoError, match="'absent' has vectors"):
        similar(engine, "absent")
    engine.connection.execute("update documents set deleted_at = now()")
    with pytest.raises(NothingToDoError):
        similar(engine, "argparse")


def test_an_engine_for_another_thread_answers_the_same(
    engine: Engine, settings: Settings, postgres_url: str
) -> None:
    with (
        postgres.connect(postgres_url, settings.home) as other,
        open_beside(engine, other, Indexes(settings)) as beside,
    ):
        assert beside.keyword is engine.keyword
        assert beside.vector is not engine.vector
        assert beside.connection is other
        asked = ("command line", HashEncoder())
        assert search(beside, *asked) == search(engine, *asked)
