import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ml_assets.documents.sources.base import JudgedQueries, JudgedQuery
from ml_assets.errors import SpaceMismatchError
from ml_assets.search.answering.engine import open_engine
from ml_assets.search.answering.model import Engine
from ml_assets.search.evaluation import measuring
from ml_assets.search.evaluation.exact import recall_against_exact
from ml_assets.search.evaluation.measurement import (
    Measurement,
    as_json,
    from_json,
    record_measurement,
)
from ml_assets.search.evaluation.measuring import evaluate_generation
from ml_assets.search.evaluation.tuning import candidates
from ml_assets.search.filters.language import NO_FILTER, Condition
from ml_assets.search.generation import find_generation
from ml_assets.search.indexes.contract import Ranking
from ml_assets.search.indexes.kinds import Indexes, sync_index
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import DEFAULT_FUSION, Generation, Vector
from ml_assets.search.publishing.publish import serve
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder, other_space
from ml_assets_tests.search.corpus import Doc, fill, put, sync_all
from ml_assets_tests.search.measurements import measurement

DOCS = {f"d{number}": Doc((f"text number {number}",), f"title {number}") for number in range(40)}
JUDGED = (
    JudgedQuery("1", "text number 7", {"d7": 1}, "tuning"),
    JudgedQuery("2", "text number 8", {"d8": 1, "gone": 1}, "reporting"),
)


TUNING = tuple(
    JudgedQuery(f"{half} {number}", f"text number {number}", {f"d{number}": 1}, "tuning")
    for half in ("once", "again")
    for number in range(38)
)


class Confused(HashEncoder):
    """By its words each query finds its document first; its vector is that of another."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return super().encode([f"text number {39 - int(text.split()[-1])}" for text in texts])


class OneByOne(PgvectorIndex):
    """Asks itself, whose answers are other ones, for each of many queries."""

    def query_many(self, vectors: Sequence[Vector], k: int) -> list[Ranking]:
        return [self.query(vector, k) for vector in vectors]


class Forgetful(OneByOne):
    """Loses every second neighbour."""

    def query(self, vector: Vector, k: int, filters: Condition = NO_FILTER) -> Ranking:
        found = super().query(vector, k, filters)
        return Ranking(found.chunk_ids[::2], found.scores[::2], exhausted=False)


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
    sync_index(connection, index)
    assert recall_against_exact(connection, generation, {"x": index}).recall == {"x": 1.0}


def test_an_index_that_returns_far_vectors_has_low_recall(engine: Engine) -> None:
    class Backwards(OneByOne):
        def query(self, vector: Vector, k: int, filters: Condition = NO_FILTER) -> Ranking:
            return super().query(np.negative(vector), k, filters)

    index = Backwards(engine.connection, engine.generation)
    report = recall_against_exact(engine.connection, engine.generation, {"x": index}, sample=40)
    assert report.recall["x"] < 0.1


def test_an_index_must_find_a_chunk_by_its_own_vector(engine: Engine) -> None:
    class Blind(OneByOne):
        def query(self, vector: Vector, k: int, filters: Condition = NO_FILTER) -> Ranking:
            found = super().query(vector, k + 1, filters)
            return Ranking(found.chunk_ids[1:], found.scores[1:], exhausted=False)

    connection, generation = engine.connection, engine.generation
    indexes = {
        "seeing": PgvectorIndex(connection, generation),
        "blind": Blind(connection, generation),
    }
    report = recall_against_exact(connection, generation, indexes, sample=30)
    assert report.reached == {"seeing": 1.0, "blind": 0.0}
    assert report.recall["blind"] == 1


def test_of_equal_texts_each_is_found_by_the_other(
    connection: postgres.Connection, generation: Generation
) -> None:
    fill(connection, {f"same{number}": Doc(("the same text",)) for number in range(30)})
    index = PgvectorIndex(connection, generation)
    sync_index(connection, index)
    assert recall_against_exact(connection, generation, {"x": index}).reached == {"x": 1.0}


def test_judged_queries_are_held_against_exact_search_too(engine: Engine) -> None:
    connection, generation = engine.connection, engine.generation
    indexes = {
        "pgvector": PgvectorIndex(connection, generation),
        "forgetful": Forgetful(connection, generation),
    }
    judged = HashEncoder().encode([f"question {number}" for number in range(20)])
    report = recall_against_exact(connection, generation, indexes, judged, sample=15)
    # Of the eleven that are asked for, places 0, 2, … 10 remain: five of the ten nearest.
    assert report.judged_recall == {"pgvector": 1.0, "forgetful": pytest.approx(0.5)}
    alone = recall_against_exact(connection, generation, indexes, sample=15)
    assert alone.judged_recall == {}
    assert alone.recall == report.recall


def test_nothing_to_sample_is_said(connection: postgres.Connection, generation: Generation) -> None:
    report = recall_against_exact(
        connection, generation, {"x": PgvectorIndex(connection, generation)}
    )
    assert (report.recall, report.sampled) == ({"x": 1.0}, 0)


def test_a_generation_is_measured_with_one_encoding(engine: Engine, settings: Settings) -> None:
    encoder = HashEncoder()
    vectors = {"pgvector": engine.vector}
    result = evaluate_generation(engine, vectors, JUDGED, lambda: encoder, settings, state="s")
    assert from_json(json.loads(json.dumps(as_json(result)))) == result
    assert encoder.texts == ["text number 7", "text number 8"]
    assert result.state == "s"
    assert result.recall == result.judged_recall == {"pgvector": 1.0}
    assert result.reached == {"pgvector": 1.0}
    assert result.quality.methods["vector"]["tuning"]["ndcg@10"] == 1
    assert result.quality.methods["keyword"]["reporting"]["recall@10"] == 0.5
    assert result.missing_documents == 1
    assert result.judged_queries == 2
    assert result.fusion == DEFAULT_FUSION
    assert result.tuning.queries == 1
    assert result.quality.comparison is not None
    assert result.quality.comparison.method == "hybrid"
    assert result.ndcg == result.quality.methods["hybrid"]["reporting"]["ndcg@10"]


def test_the_settings_and_the_tuning_half_decide_the_fusion(
    engine: Engine, settings: Settings
) -> None:
    chosen = settings.model_copy(update={"fusion": "minmax", "feedback": "off"})
    result = evaluate_generation(engine, {}, TUNING, Confused, chosen, state="s")
    fusion = result.fusion
    assert (fusion.method, fusion.feedback) == ("minmax", False)
    assert fusion.keyword_weight > candidates("minmax")[0].keyword_weight
    assert result.tuning.gain > result.tuning.error
    assert result.quality.methods["hybrid"]["tuning"]["mrr@10"] == 1
    assert result.quality.comparison is None
    assert (result.hybrid, result.ndcg) == ({}, None)


def measured(
    engine: Engine, encoder: type[HashEncoder], judged: JudgedQueries, settings: Settings
) -> Measurement:
    """Measure the generation as it is now, and keep the result as an asset would."""
    identity = engine.generation.generation_id
    fresh = replace(engine, generation=find_generation(engine.connection, identity))
    result = evaluate_generation(fresh, {}, judged, encoder, settings, state="s")
    record_measurement(engine.connection, identity, result)
    return result


def test_the_fusion_is_frozen_until_what_it_was_tuned_from_changes(
    engine: Engine, settings: Settings
) -> None:
    tuned = measured(engine, Confused, TUNING, settings)
    assert tuned.fusion != DEFAULT_FUSION
    put(engine.connection, "another", Doc(("another text",)))
    # By now the vectors are right: tuned again, it would be the default.
    again = measured(engine, HashEncoder, TUNING, settings)
    assert again.tuning == tuned.tuning
    # Reporting queries do not decide.
    more = (*TUNING, *(query for query in JUDGED if query.half == "reporting"))
    assert measured(engine, HashEncoder, more, settings).tuning == tuned.tuning
    fewer = measured(engine, HashEncoder, TUNING[1:], settings)
    assert fewer.fusion == DEFAULT_FUSION
    assert fewer.tuning.queries == 75
    chosen = settings.model_copy(update={"fusion": "rrf"})
    assert measured(engine, HashEncoder, TUNING[1:], chosen).fusion.method == "rrf"


def test_a_fusion_that_was_published_is_kept_when_the_indexes_are_built_again(
    engine: Engine, settings: Settings
) -> None:
    tuned = measured(engine, Confused, TUNING, settings)
    identity = engine.generation.generation_id
    serve(engine.connection, engine.generation, tuned, [], "run", "run")
    record_measurement(engine.connection, identity, measurement())
    assert measured(engine, HashEncoder, TUNING, settings).fusion == tuned.fusion


def test_a_fusion_tuned_before_the_answers_came_is_tuned_again(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    fill(connection, {"another": Doc(("another text",))})
    sync_all(connection, settings, generation)
    with open_engine(connection, Indexes(settings), generation) as engine:
        early = measured(engine, Confused, TUNING, settings)
        assert (early.fusion, early.missing_documents) == (DEFAULT_FUSION, 38)
    fill(connection, DOCS)
    sync_all(connection, settings, generation)
    with open_engine(connection, Indexes(settings), generation) as engine:
        late = measured(engine, Confused, TUNING, settings)
        assert late.fusion != DEFAULT_FUSION
        assert late.documents != early.documents


def test_without_judged_queries_no_encoder_is_loaded(engine: Engine, settings: Settings) -> None:
    def load() -> HashEncoder:
        raise AssertionError("loaded")

    vectors = {"pgvector": engine.vector}
    result = evaluate_generation(engine, vectors, None, load, settings, state="s")
    assert result.quality.methods == {}
    assert result.fusion == DEFAULT_FUSION
    assert result.recall == {"pgvector": 1.0}


def test_an_encoder_of_another_space_is_refused(engine: Engine, settings: Settings) -> None:
    def load() -> HashEncoder:
        return HashEncoder(other_space())

    with pytest.raises(SpaceMismatchError):
        evaluate_generation(engine, {}, JUDGED, load, settings, state="s")


def test_the_state_follows_all_it_depends_on(
    connection: postgres.Connection,
    generation: Generation,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def state(versions: str = "1", judged: JudgedQueries | None = JUDGED, **changed: object) -> str:
        chosen = settings.model_copy(update=changed)
        monkeypatch.setattr(measuring, "index_versions", lambda *_: {"pgvector": versions})
        return measuring.present_state(connection, generation, judged, chosen)

    assert state() == state() == state(hnsw_m=20, actor="another")
    others = [
        state(versions="2"),
        state(judged=JUDGED[:1]),
        state(judged=None),
        state(vector_index="chroma"),
        state(fusion="rrf"),
        state(feedback="off"),
        state(rerank_model="model"),
        state(rerank_top=10),
        state(seed=1),
    ]
    assert len({state(), *others}) == len(others) + 1
