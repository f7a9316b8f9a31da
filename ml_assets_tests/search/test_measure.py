from collections.abc import Iterator

import numpy as np
import pytest

from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.errors import SpaceMismatchError
from ml_assets.search.engine import Engine, open_engine
from ml_assets.search.exact import recall_against_exact
from ml_assets.search.filters import NO_FILTER, SearchFilter
from ml_assets.search.measure import (
    MIN_TUNING_QUERIES,
    evaluate_generation,
    evaluation_state,
    tune_weights,
)
from ml_assets.search.model import Generation, Ranking, Vector
from ml_assets.search.pgvector import PgvectorIndex
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder, other_space
from ml_assets_tests.search.corpus import Doc, fill
from ml_assets_tests.search.test_engine import sync_all

DOCS = {f"d{number}": Doc((f"text number {number}",), f"title {number}") for number in range(40)}
JUDGED = (
    JudgedQuery("1", "text number 7", {"d7": 1}, "tuning"),
    JudgedQuery("2", "text number 8", {"d8": 1, "gone": 1}, "reporting"),
)


class Forgetful(PgvectorIndex):
    """Loses every second neighbour."""

    def query(self, vector: Vector, k: int, filters: SearchFilter = NO_FILTER) -> Ranking:
        return Ranking(super().query(vector, k, filters).chunk_ids[::2], exhausted=False)


@pytest.fixture
def engine(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> Iterator[Engine]:
    fill(connection, DOCS)
    sync_all(connection, settings, generation)
    with open_engine(connection, settings, generation) as opened:
        yield opened


def test_recall_is_that_of_brute_force(engine: Engine) -> None:
    connection, generation = engine.connection, engine.generation
    indexes = {
        "pgvector": PgvectorIndex(connection, generation),
        "forgetful": Forgetful(connection, generation),
    }
    report = recall_against_exact(connection, generation, indexes, sample=30, seed=1)
    assert report.sampled == 30
    assert report.recall["pgvector"] == 1
    # Of self and ten neighbours, places 0, 2, 4, … remain: self and five neighbours.
    assert report.recall["forgetful"] == pytest.approx(0.5)
    assert recall_against_exact(connection, generation, indexes, sample=30, seed=1) == report


def test_equal_texts_are_as_good_as_each_other(
    connection: postgres.Connection, generation: Generation
) -> None:
    fill(connection, {f"same{number}": Doc(("the same text",)) for number in range(30)})
    index = PgvectorIndex(connection, generation)
    index.sync(connection)
    assert recall_against_exact(connection, generation, {"x": index}).recall == {"x": 1.0}


def test_an_index_that_returns_far_vectors_has_low_recall(engine: Engine) -> None:
    class Backwards(PgvectorIndex):
        def query(self, vector: Vector, k: int, filters: SearchFilter = NO_FILTER) -> Ranking:
            return super().query(np.negative(vector), k, filters)

    index = Backwards(engine.connection, engine.generation)
    report = recall_against_exact(engine.connection, engine.generation, {"x": index}, sample=40)
    assert report.recall["x"] < 0.1


def test_nothing_to_sample_is_said(connection: postgres.Connection, generation: Generation) -> None:
    report = recall_against_exact(
        connection, generation, {"x": PgvectorIndex(connection, generation)}
    )
    assert (report.recall, report.sampled) == ({"x": 1.0}, 0)


def test_a_generation_is_measured_with_one_encoding(engine: Engine) -> None:
    encoder = HashEncoder()
    vectors = {"pgvector": engine.vector}
    result = evaluate_generation(engine, vectors, JUDGED, lambda: encoder, state="s")
    assert encoder.texts == ["text number 7", "text number 8"]
    assert result["state"] == "s"
    assert result["recall"] == {"pgvector": 1.0}
    assert result["methods"]["vector"]["tuning"]["ndcg@10"] == 1
    assert result["methods"]["keyword"]["reporting"]["recall@10"] == 0.5
    assert result["missing_documents"] == 1
    assert result["judged_queries"] == 2
    assert result["weights"] == {"keyword": 1.0, "vector": 1.0}


def test_without_judged_queries_no_encoder_is_loaded(engine: Engine) -> None:
    def load() -> HashEncoder:
        raise AssertionError("loaded")

    result = evaluate_generation(engine, {"pgvector": engine.vector}, None, load, state="s")
    assert result["methods"] == {}
    assert result["recall"] == {"pgvector": 1.0}


def test_an_encoder_of_another_space_is_refused(engine: Engine) -> None:
    with pytest.raises(SpaceMismatchError):
        evaluate_generation(engine, {}, JUDGED, lambda: HashEncoder(other_space()), state="s")


def test_the_state_follows_all_it_depends_on(generation: Generation) -> None:
    def state(**changed: object) -> str:
        arguments = {
            "generation": generation,
            "versions": {"pgvector": "1"},
            "judged": JUDGED,
            "vector_index": "pgvector",
        }
        return evaluation_state(**{**arguments, **changed})  # type: ignore[arg-type]

    assert state() == state()
    others = [
        state(versions={"pgvector": "2"}),
        state(judged=JUDGED[:1]),
        state(judged=None),
        state(vector_index="chroma"),
    ]
    assert len({state(), *others}) == 5


def rankings(
    good: str, bad: str, queries: int
) -> tuple[dict[str, dict[str, list[str]]], list[JudgedQuery]]:
    judged = [JudgedQuery(str(n), "q", {"right": 1}, "tuning") for n in range(queries)]
    lists = {good: ["right", *"abcdefgh"], bad: [*"hgfedcba", "wrong", "right"]}
    return {query.query_id: lists for query in judged}, judged


def test_weights_follow_the_better_ranking_on_the_tuning_half() -> None:
    assert tune_weights(*rankings("vector", "keyword", 60))["keyword"] < 1
    assert tune_weights(*rankings("keyword", "vector", 60))["keyword"] > 1


def test_weights_stay_equal_without_reason() -> None:
    assert tune_weights(*rankings("vector", "keyword", MIN_TUNING_QUERIES - 1))["keyword"] == 1
    even, judged = rankings("vector", "keyword", 60)
    same = {name: {"keyword": ["right"], "vector": ["right"]} for name in even}
    assert tune_weights(same, judged)["keyword"] == 1
    # One query of sixty is noise, whatever it says.
    noisy = {**same, judged[0].query_id: even[judged[0].query_id]}
    assert tune_weights(noisy, judged)["keyword"] == 1
