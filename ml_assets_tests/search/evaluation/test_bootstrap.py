from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.search.evaluation.bootstrap import (
    bootstrap_interval,
    compare,
    mean_metrics,
    metric_intervals,
)


def test_the_interval_is_that_of_the_normal_law_for_many_queries() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.2, 400).tolist()
    low, high = bootstrap_interval(values, seed=0)
    half = 1.96 * float(np.std(values)) / math.sqrt(len(values))
    assert low == pytest.approx(np.mean(values) - half, abs=half / 8)
    assert high == pytest.approx(np.mean(values) + half, abs=half / 8)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for seed in range(200):
        low, high = bootstrap_interval(generator.random(80).tolist(), seed)
        covered += low <= 0.5 <= high
    assert 180 <= covered <= 199


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 2**31))
def test_an_interval_lies_within_the_values_and_repeats(values: list[float], seed: int) -> None:
    low, high = bootstrap_interval(values, seed)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert bootstrap_interval(values, seed) == (low, high)


def test_metrics_are_averaged_and_have_their_intervals() -> None:
    rows = [{"a": 0.0, "b": 1.0}, {"a": 1.0, "b": 1.0}]
    assert mean_metrics(rows) == {"a": 0.5, "b": 1.0, "queries": 2}
    assert metric_intervals(rows, 0) == {"a": (0.0, 1.0), "b": (1.0, 1.0)}
    assert metric_intervals(rows, 0)["a"] == bootstrap_interval([0.0, 1.0], 0)


def test_methods_are_compared_query_by_query_with_the_best_other() -> None:
    values = {
        "hybrid": {"1": 1.0, "2": 0.5, "3": 0.2, "4": 0.7},
        "vector": {"1": 0.5, "2": 0.5, "3": 0.3, "4": 0.1},
        "keyword": {"1": 0.0, "2": 0.0, "3": 0.0, "4": 1.0},
    }
    found = compare(values, "hybrid", ("vector", "keyword"), seed=0)
    assert (found.method, found.against) == ("hybrid", "vector")
    assert found.difference == pytest.approx((0.5 + 0 - 0.1 + 0.6) / 4)
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.interval[0] <= found.difference <= found.interval[1]
