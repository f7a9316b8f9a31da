from __future__ import annotations

import numpy as np
import pytest

from ml_assets.search.answering.fusion import Scores, fuse
from ml_assets.search.evaluation.metrics import ndcg
from ml_assets.search.evaluation.tuning import (
    MIN_QUERIES,
    TuningQuery,
    candidates,
    choose,
    measure_fusions,
    tune,
)
from ml_assets.search.model import DEFAULT_FUSION, Fusion

RELEVANT = {"right": 1}
GOOD = Scores({"right": 3.0, "wrong": 2.0, "other": 1.0}, 1.0)
BAD = Scores({"wrong": 3.0, "other": 2.0, "right": 1.0}, 1.0)
"""By minmax the right document is first while the good index weighs more than 2/3."""

EVEN = {"keyword": Scores({"right": 1.0}), "vector": Scores({"right": 1.0})}


def queries(good: str, bad: str, count: int = 60) -> list[TuningQuery]:
    return [({good: GOOD, bad: BAD, "feedback": BAD}, RELEVANT)] * count


def test_the_default_is_preferred_and_settings_narrow_the_choice() -> None:
    assert candidates()[0] == DEFAULT_FUSION
    assert candidates("rrf")[0] == Fusion("rrf", 0.5)
    assert {fusion.method for fusion in candidates("minmax")} == {"minmax"}
    assert {fusion.feedback for fusion in candidates()} == {False, True}
    assert candidates()[0].feedback
    assert {fusion.feedback for fusion in candidates("auto", "off")} == {False}
    assert {fusion.feedback for fusion in candidates("tmm", "on")} == {True}
    weights = [fusion.keyword_weight for fusion in candidates("tmm", "off")]
    assert weights[0] == 0.3
    assert set(weights[1:3]) == {0.2, 0.4}


def test_the_weight_follows_the_better_index() -> None:
    tuned = tune(queries("vector", "keyword"), candidates("minmax", "off"))
    assert tuned.fusion.keyword_weight < 0.4
    assert tuned.chosen > tuned.default
    assert tuned.gain > tuned.error
    assert (
        tune(queries("keyword", "vector"), candidates("minmax", "off")).fusion.weights["keyword"]
        > 0.5
    )


def test_feedback_is_chosen_where_it_is_better() -> None:
    helped: TuningQuery = ({"keyword": BAD, "vector": BAD, "feedback": GOOD}, RELEVANT)
    assert tune([helped] * MIN_QUERIES, candidates()).fusion.feedback
    assert not tune(queries("vector", "keyword"), candidates()).fusion.feedback


def test_few_queries_keep_the_default() -> None:
    tuned = tune(queries("vector", "keyword", MIN_QUERIES - 1), candidates())
    assert (tuned.fusion, tuned.queries) == (DEFAULT_FUSION, MIN_QUERIES - 1)
    assert tune([], candidates("rrf", "on")).fusion == Fusion("rrf", 0.5, True)


def test_noise_does_not_move_the_choice() -> None:
    same: TuningQuery = ({**EVEN, "feedback": EVEN["vector"]}, RELEVANT)
    assert tune([same] * 60, candidates()).fusion == DEFAULT_FUSION
    # One query of sixty says something, whatever it is.
    noisy = [*([same] * 59), *queries("keyword", "vector", 1)]
    assert tune(noisy, candidates()).fusion == DEFAULT_FUSION


def test_what_helps_only_one_fold_is_not_kept() -> None:
    """The last of sixty queries gain, and alone; on the other folds nothing would choose so."""
    same: TuningQuery = ({**EVEN, "feedback": EVEN["vector"]}, RELEVANT)
    tuned = tune([*([same] * 48), *queries("keyword", "vector", 12)], candidates("minmax", "off"))
    assert tuned.gain <= tuned.error
    assert tuned.fusion == candidates("minmax", "off")[0]


def test_the_first_within_one_standard_error_of_the_best_is_chosen() -> None:
    level = np.random.default_rng(0).random((200, 1))
    swings = np.resize([[0.05], [-0.05]], (200, 1))
    worse, near, best = level - 0.1, level + swings, level + 0.001
    assert choose(np.hstack([worse, near, best])) == 1
    assert choose(np.hstack([worse, best, near])) == 1
    assert choose(np.hstack([best, near])) == 0
    # The same swing without noise is a reason.
    assert choose(np.hstack([level, best])) == 1


def test_measured_fusions_are_those_that_are_served() -> None:
    found = {"keyword": BAD, "vector": GOOD, "feedback": BAD}
    fusions = candidates()
    measured = measure_fusions([(found, RELEVANT)], fusions)
    for value, fusion in zip(measured[0], fusions, strict=True):
        vector = found["feedback" if fusion.feedback else "vector"]
        served = fuse({"keyword": BAD, "vector": vector}, fusion.weights, fusion.method)
        assert value == pytest.approx(ndcg([item for item, _ in served], RELEVANT))
