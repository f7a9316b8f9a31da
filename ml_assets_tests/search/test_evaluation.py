import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.search.evaluation import (
    dcg,
    evaluate_queries,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)

RELEVANT = {"a": 2, "b": 1, "c": 1, "z": 0}


def test_dcg_is_linear_in_the_grade() -> None:
    assert dcg([3, 2, 0, 1], 10) == pytest.approx(3 + 2 / math.log2(3) + 1 / math.log2(5))
    assert dcg([3, 2, 0, 1], 2) == pytest.approx(3 + 2 / math.log2(3))


def test_ndcg_by_hand() -> None:
    # Found: b (1) at rank 1, nothing at 2, a (2) at 3; ideal: 2, 1, 1.
    found = 1 + 2 / 2
    ideal = 2 + 1 / math.log2(3) + 1 / 2
    assert ndcg(["b", "x", "a"], RELEVANT) == pytest.approx(found / ideal)
    assert ndcg(["a", "c", "b"], RELEVANT) == pytest.approx(1)
    assert ndcg(["a", "x", "y"], RELEVANT, k=1) == 1
    assert ndcg(["z", "x"], RELEVANT) == 0
    assert ndcg(["a"], {}) == 0


def test_ndcg_by_a_published_example() -> None:
    """Wikipedia, "Discounted cumulative gain": grades 3, 2, 3, 0, 1, 2 against 3, 3, 3, 2, 2, 2."""
    grades = {"D1": 3, "D2": 2, "D3": 3, "D4": 0, "D5": 1, "D6": 2, "D7": 3, "D8": 2}
    ranking = ["D1", "D2", "D3", "D4", "D5", "D6"]
    assert dcg([grades[d] for d in ranking], 6) == pytest.approx(6.861, abs=1e-3)
    assert ndcg(ranking, grades, k=6) == pytest.approx(0.785, abs=1e-3)


def test_the_other_metrics_by_hand() -> None:
    ranking = ["x", "b", "y", "a", "z"]
    assert reciprocal_rank(ranking, RELEVANT) == 1 / 2
    assert reciprocal_rank(ranking, RELEVANT, k=1) == 0
    assert recall(ranking, RELEVANT) == pytest.approx(2 / 3)
    assert recall(ranking, RELEVANT, k=2) == pytest.approx(1 / 3)
    assert recall(ranking, {"q": 0}) == 0
    assert precision(ranking, RELEVANT) == 2 / 10
    assert precision(ranking, RELEVANT, k=4) == 2 / 4


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3)),
    st.lists(st.sampled_from("abcdefgh"), unique=True),
)
def test_metrics_are_fractions_and_the_ideal_ranking_is_best(
    relevant: dict[str, int], ranking: list[str]
) -> None:
    ideal = sorted(relevant, key=lambda document_id: -relevant[document_id])
    for metric in (ndcg, reciprocal_rank, recall, precision):
        assert 0 <= metric(ranking, relevant) <= metric(ideal, relevant) <= 1 + 1e-12


def test_queries_are_averaged_by_half_and_unjudged_ones_left_out() -> None:
    judged = [
        JudgedQuery("1", "one", {"a": 1}, "tuning"),
        JudgedQuery("2", "two", {"a": 1}, "reporting"),
        JudgedQuery("3", "three", {"b": 1}, "reporting"),
        JudgedQuery("4", "four", {"b": 0}, "reporting"),
    ]
    asked: list[str] = []

    def run(query: JudgedQuery) -> Sequence[str]:
        asked.append(query.query_id)
        return ["a"]

    results = evaluate_queries(run, judged)
    assert asked == ["1", "2", "3"]
    assert results["tuning"]["ndcg@10"] == 1
    assert results["reporting"]["mrr@10"] == 0.5
    assert results["reporting"]["queries"] == 2
