from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.errors import SpaceMismatchError
from ml_assets.search.answering.engine import search
from ml_assets.search.answering.model import Engine
from ml_assets.search.evaluation.judged import (
    evaluate_methods,
    half_of,
    measure_methods,
    query_judged,
)
from ml_assets.search.evaluation.measurement import MethodQuality
from ml_assets.search.model import Fusion
from ml_assets_tests.fakes import HashEncoder, other_space
from ml_assets_tests.search.evaluation.judging import DOCS as DOCS  # what the fixture fills in
from ml_assets_tests.search.evaluation.judging import judged

QUERIES = tuple(judged(number, "tuning" if number < 4 else "reporting") for number in range(34))


def test_one_encoding_serves_all_queries(engine: Engine) -> None:
    encoder = HashEncoder()
    asked = query_judged(engine, QUERIES[:3], lambda: encoder)
    assert encoder.texts == [query.text for query in QUERIES[:3]]
    assert [one.query for one in asked] == list(QUERIES[:3])
    for one in asked:
        assert next(iter(one.scores["vector"].scores)) == f"d{one.query.query_id[1:]}"
        assert set(one.scores) == {"keyword", "vector", "feedback"}
    with pytest.raises(SpaceMismatchError):
        query_judged(engine, QUERIES, lambda: HashEncoder(other_space()))


def test_feedback_is_asked_for_unless_it_is_off(engine: Engine) -> None:
    def found(feedback: str) -> set[str]:
        asked = query_judged(engine, QUERIES[:1], HashEncoder, feedback)  # type: ignore[arg-type]
        return {name for one in asked for name in one.scores}

    assert "feedback" in found("on")
    assert "feedback" in found("auto")
    assert "feedback" not in found("off")


def test_halves_leave_out_what_has_no_answer(engine: Engine) -> None:
    unanswered = JudgedQuery("none", "text", {"d1": 0}, "reporting")
    asked = query_judged(engine, (*QUERIES, unanswered), HashEncoder)
    assert len(half_of(asked, "tuning")) == 4
    assert len(half_of(asked, "reporting")) == 30


@pytest.mark.parametrize("fusion", [Fusion("rrf", 0.4), Fusion("tmm", 0.6, feedback=True)])
@pytest.mark.parametrize("unread", ["", "number 3"])
def test_what_is_measured_is_what_is_served(engine: Engine, fusion: Fusion, unread: str) -> None:
    """Also of a query whose script the model does not know."""
    served = replace(engine, fusion=fusion, reads=lambda text: not unread or unread not in text)
    asked = query_judged(served, QUERIES[:5], HashEncoder, "on")
    results = evaluate_methods(served, asked)
    assert list(results) == ["hybrid", "vector", "keyword"]
    for method in ("hybrid", "vector", "keyword"):
        for one in asked:
            found = search(served, one.query.text, HashEncoder(), method=method)  # type: ignore[arg-type]
            hits = [hit.document_id for hit in found.hits]
            (wanted,) = one.query.relevant
            expected = 1 / (hits.index(wanted) + 1) if wanted in hits else 0.0
            assert results[method][one.query.query_id]["mrr@10"] == expected


def backwards(query: str, texts: Sequence[str]) -> list[float]:
    """Prefers what was found last."""
    return [float(place) for place in range(len(texts))]


def test_a_reranker_is_measured_as_a_method_of_its_own(engine: Engine) -> None:
    reranking = replace(engine, reranker=backwards, rerank_top=5)
    asked = query_judged(reranking, QUERIES[:5], HashEncoder)
    results = evaluate_methods(reranking, asked)
    assert [metrics["mrr@10"] for metrics in results["hybrid"].values()] == [1] * 5
    assert [metrics["mrr@10"] for metrics in results["reranked"].values()] == [1 / 5] * 5


def measured(engine: Engine, queries: Sequence[JudgedQuery]) -> MethodQuality:
    asked = query_judged(engine, tuple(queries), HashEncoder)
    halves = {half: half_of(asked, half) for half in ("tuning", "reporting")}  # type: ignore[arg-type]
    return measure_methods(engine, halves, seed=0)


def test_methods_are_measured_by_half_with_intervals(engine: Engine) -> None:
    quality = measured(engine, [*QUERIES[:6], judged(6, "reporting", 7)])
    methods = quality.methods
    assert methods["vector"]["tuning"]["queries"] == 4
    assert methods["vector"]["reporting"]["queries"] == 3
    assert methods["keyword"]["tuning"]["mrr@10"] == 1
    low, high = quality.intervals["vector"]["reporting"]["recall@10"]
    assert low <= methods["vector"]["reporting"]["recall@10"] <= high
    assert set(quality.ndcg["hybrid"]) == {"q4", "q5", "q6"}
    comparison = quality.comparison
    assert comparison is not None
    assert comparison.wins + comparison.ties + comparison.losses == 3
    assert measured(engine, [*QUERIES[:6], judged(6, "reporting", 7)]) == quality


def test_without_a_reporting_half_nothing_is_compared(engine: Engine) -> None:
    quality = measured(engine, QUERIES[:2])
    assert set(quality.methods["hybrid"]) == {"tuning"}
    assert quality.comparison is None
