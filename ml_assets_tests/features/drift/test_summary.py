"""Summaries: what the sketch keeps, and that merging loses nothing."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.features.drift.summary import (
    Summary,
    keys_of,
    merge,
    summarize_categories,
    summarize_numbers,
    values_of,
)

NUMBERS = st.one_of(
    st.just(0.0),
    st.floats(1e-8, 1e12),
    st.floats(-1e12, -1e-8),
    st.just(float("nan")),
    st.integers(-5, 5).map(float),
)


@given(st.lists(NUMBERS, max_size=60), st.lists(NUMBERS, max_size=60))
def test_merged_summaries_are_the_summary_of_all(some: list[float], more: list[float]) -> None:
    parts = [summarize_numbers(np.array(each, np.float64)) for each in (some, more)]
    merged, whole = merge(parts), summarize_numbers(np.array([*some, *more], np.float64))
    assert (merged.rows, merged.missing) == (whole.rows, whole.missing)
    assert dict(merged.counts) == dict(whole.counts)
    assert merged.mean == pytest.approx(whole.mean, rel=1e-6, abs=1e-3, nan_ok=True)
    assert merged.deviation == pytest.approx(whole.deviation, rel=1e-6, abs=1e-3, nan_ok=True)


@given(st.lists(NUMBERS, min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_known_to_a_thousandth(values: list[float], share: float) -> None:
    known = np.array([value for value in values if np.isfinite(value)])
    summary = summarize_numbers(np.array(values))
    if not len(known):
        assert summary.quantiles() == []
        return
    (quantile,) = summary.quantiles([share])
    exact = np.quantile(known, share, method="inverted_cdf")
    assert quantile == pytest.approx(exact, rel=1e-3, abs=1e-9)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40))
def test_keys_sort_as_values_do_and_stand_for_them(values: list[float]) -> None:
    given_values = np.sort(np.array(values, np.float64))
    keys = keys_of(given_values)
    assert (np.diff(keys) >= 0).all()
    np.testing.assert_allclose(values_of(keys), given_values, rtol=1e-3, atol=1e-9)


def test_what_is_not_finite_is_missing() -> None:
    summary = summarize_numbers(np.array([1.0, np.nan, np.inf, -np.inf]))
    assert (summary.rows, summary.missing, summary.known) == (4, 3, 1)
    assert (summary.mean, summary.deviation) == (1.0, 0.0)


def test_categories_count_what_has_a_name() -> None:
    summary = summarize_categories(["a", "b", None, "a"])
    assert summary == Summary(False, 4, 1, {"a": 2, "b": 1})
    assert dict(merge([summary, summarize_categories(["c", None])]).counts) == Counter("aabc")
    assert merge([summary, summary]).missing == 2
