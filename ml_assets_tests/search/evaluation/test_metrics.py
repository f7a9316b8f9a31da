import math

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.search.evaluation.metrics import (
    average_precision,
    dcg,
    evaluate_ranking,
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
    # Scores: b (1) at rank 1, nothing at 2, a (2) at 3; ideal: 2, 1, 1.
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
    # Relevant at ranks 2 and 4, of three: (1/2 + 2/4) / 3.
    assert average_precision(ranking, RELEVANT) == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert average_precision(ranking, RELEVANT, k=3) == pytest.approx(1 / 2 / 3)
    assert average_precision(["a"], {}) == 0


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3)),
    st.lists(st.sampled_from("abcdefgh"), unique=True),
)
def test_metrics_are_fractions_and_the_ideal_ranking_is_best(
    relevant: dict[str, int], ranking: list[str]
) -> None:
    ideal = sorted(relevant, key=lambda document_id: -relevant[document_id])
    for metric in (ndcg, reciprocal_rank, recall, precision, average_precision):
        assert 0 <= metric(ranking, relevant) <= metric(ideal, relevant) <= 1 + 1e-12


def test_every_ranking_has_its_metrics() -> None:
    metrics = evaluate_ranking(["a"], {"b": 1, "a": 1})
    assert set(metrics) == {"ndcg@10", "mrr@10", "recall@10", "precision@10", "map@100"}
    assert metrics["recall@10"] == 0.5
    assert evaluate_ranking(["a"], {"a": 1})["ndcg@10"] == 1


GRADED = st.dictionaries(st.sampled_from("abcdefghijklmno"), st.integers(0, 3), min_size=1)


@settings(max_examples=200)
@given(GRADED, st.permutations("abcdefghijklmno"), st.integers(0, 15))
def test_metrics_are_those_of_trec_eval(
    relevant: dict[str, int], order: list[str], length: int
) -> None:
    ranking = order[:length]
    measures = {"ndcg_cut.10", "recall.10", "P.10", "map_cut.100", "recip_rank"}
    evaluator = pytrec_eval.RelevanceEvaluator({"q": relevant}, measures)
    run = {document: float(len(ranking) - rank) for rank, document in enumerate(ranking)}
    theirs = evaluator.evaluate({"q": run})["q"]
    ours = evaluate_ranking(ranking, relevant)
    assert ours["ndcg@10"] == pytest.approx(theirs["ndcg_cut_10"])
    assert ours["recall@10"] == pytest.approx(theirs["recall_10"])
    assert ours["precision@10"] == pytest.approx(theirs["P_10"])
    assert ours["map@100"] == pytest.approx(theirs["map_cut_100"])
    assert reciprocal_rank(ranking, relevant, k=15) == pytest.approx(theirs["recip_rank"])
