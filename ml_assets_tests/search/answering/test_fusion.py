from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.errors import UserError
from ml_assets.search.answering.fusion import Scores, fuse
from ml_assets.search.model import DEFAULT_FUSION, Fusion, FusionMethod

METHODS = get_args(FusionMethod)
EQUAL = {"keyword": 0.5, "vector": 0.5}


def in_order(scores: dict[str, float], exhausted: bool) -> Scores:
    best_first = dict(sorted(scores.items(), key=lambda pair: (-pair[1], pair[0])))
    return Scores(best_first, 0.0 if exhausted else min(scores.values(), default=0.0))


SCORES = st.dictionaries(st.text("abc", min_size=1, max_size=2), st.floats(0, 50), max_size=8)
FOUND = st.dictionaries(
    st.sampled_from(["keyword", "vector"]),
    st.builds(in_order, SCORES, st.booleans()),
    min_size=1,
)


def fused(
    keyword: dict[str, float], vector: dict[str, float], method: FusionMethod, weight: float = 0.5
) -> dict[str, float]:
    found = {"keyword": in_order(keyword, True), "vector": in_order(vector, False)}
    return dict(fuse(found, Fusion(method, weight).weights, method))


def test_rrf_scores_are_those_of_the_paper() -> None:
    scores = fused({"a": 9, "b": 8}, {"b": 0.9, "c": 0.8}, "rrf")
    assert scores == pytest.approx({"b": (1 / 62 + 1 / 61) / 2, "a": 0.5 / 61, "c": 0.5 / 62})
    assert list(scores) == ["b", "a", "c"]


def test_tmm_divides_by_the_best() -> None:
    # c has no word of the query: 0; a is at most as near as the last that was found: 0.4.
    scores = fused({"a": 10, "b": 5}, {"b": 0.8, "c": 0.4}, "tmm", 0.25)
    assert scores == pytest.approx(
        {"a": 0.25 + 0.75 * 0.5, "b": 0.25 * 0.5 + 0.75, "c": 0.75 * 0.5}
    )


def test_no_cosine_counts_below_zero() -> None:
    scores = fused({}, {"a": 0.5, "b": -0.5}, "tmm", 0.0)
    assert scores == {"a": 1.0, "b": 0.0}


def test_minmax_goes_from_the_worst_to_the_best() -> None:
    scores = fused({"a": 10, "b": 5}, {"b": 0.8, "c": 0.6, "d": 0.4}, "minmax", 0.5)
    assert scores == pytest.approx({"a": 0.5, "b": 0.25 + 0.5, "c": 0.25, "d": 0.0})


def test_zscore_counts_standard_deviations() -> None:
    scores = fused({"a": 6, "b": 2}, {"a": 0.2, "b": 0.2}, "zscore", 0.5)
    assert scores == pytest.approx({"a": 0.5, "b": -0.5})


def test_a_single_word_match_stands_out_from_what_has_none() -> None:
    vector = {"a": 0.5, "b": 0.5, "c": 0.5}
    for method in METHODS:
        assert next(iter(fused({"b": 3.0}, vector, method, 0.8))) == "b", method


@pytest.mark.parametrize("method", METHODS)
def test_weights_count(method: FusionMethod) -> None:
    keyword, vector = {"a": 3.0, "b": 2.0, "c": 1.0}, {"c": 0.9, "b": 0.6, "a": 0.3}
    assert list(fused(keyword, vector, method, 1.0)) == ["a", "b", "c"]
    assert list(fused(keyword, vector, method, 0.0)) == ["c", "b", "a"]


@pytest.mark.parametrize("method", METHODS)
def test_ties_fall_to_the_id(method: FusionMethod) -> None:
    # By rank, p and q each stand before the other once.
    assert list(fused({"q": 2.0, "p": 1.0}, {"p": 2.0, "q": 1.0}, method)) == ["p", "q"]
    assert fuse({"keyword": Scores({}), "vector": Scores({})}, EQUAL, method) == []


@given(FOUND, st.sampled_from(METHODS))
def test_fusion_keeps_every_item_and_depends_on_no_order_of_the_indexes(
    found: dict[str, Scores], method: FusionMethod
) -> None:
    scored = fuse(found, EQUAL, method)
    assert {item for item, _ in scored} == {item for one in found.values() for item in one.scores}
    assert scored == fuse(dict(reversed(found.items())), EQUAL, method)
    assert [score for _, score in scored] == sorted((s for _, s in scored), reverse=True)
    assert all(math.isfinite(score) for _, score in scored)


@given(
    st.lists(st.integers(1, 1000), unique=True, min_size=1, max_size=8),
    st.sampled_from(METHODS),
)
def test_one_ranking_stays_as_it_is(scores: list[int], method: FusionMethod) -> None:
    found = in_order({f"d{score}": float(score) for score in scores}, True)
    assert [item for item, _ in fuse({"x": found}, {"x": 1.0}, method)] == list(found.scores)


@given(SCORES, SCORES, st.floats(0.5, 20))
def test_the_unit_of_the_scores_makes_no_difference(
    keyword: dict[str, float], vector: dict[str, float], unit: float
) -> None:
    def scaled(scores: dict[str, float]) -> dict[str, float]:
        # Small differences are rounded away by any unit.
        return {item: round(score) * unit for item, score in scores.items()}

    for method in METHODS:
        whole = {item: float(round(score)) for item, score in keyword.items()}
        before, after = fused(whole, vector, method), fused(scaled(keyword), vector, method)
        assert after == pytest.approx(before, abs=1e-6)


def test_a_fusion_that_cannot_be_is_refused() -> None:
    assert Fusion() == DEFAULT_FUSION
    assert Fusion("rrf", 0.2).weights == {"keyword": 0.2, "vector": 0.8}
    with pytest.raises(UserError, match=r"no fusion 'sum'\. Known: tmm, minmax, zscore, rrf"):
        Fusion("sum")  # type: ignore[arg-type]
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(UserError, match=f"must be 0 to 1, got {weight}"):
            Fusion(keyword_weight=weight)
