"""Anomalies: planted ones are found, the ordinary and the missing are not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml_assets.monitoring import anomalies
from ml_assets.monitoring.anomalies import (
    RULES,
    Rule,
    Series,
    change_points,
    find_anomalies,
    regular,
)

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
POINTS = (Rule("sudden", HOUR, 6.0),)


def hours(weeks: int, seed: int = 0) -> NDArray[np.float64]:
    """Requests of a week's rhythm, with noise: a third at night, half on Sundays."""
    rng, places = np.random.default_rng(seed), np.arange(weeks * 7 * 24)
    by_hour = 1000 * (1.25 - np.cos(2 * math.pi * (places % 24) / 24))
    sunday = np.where(places // 24 % 7 == 6, 0.5, 1)
    noise: NDArray[np.float64] = by_hour * sunday * rng.normal(1, 0.05, len(places))
    return noise


def series(values: NDArray[np.float64], step: timedelta = HOUR) -> Series:
    return Series(BEGIN, step, values)


@pytest.mark.parametrize("seed", range(5))
def test_a_rhythm_is_nothing_extraordinary(seed: int) -> None:
    assert find_anomalies(series(hours(12, seed)), matters=20) == []


@pytest.mark.parametrize("weeks", [0, 1, 2, 3])
def test_nor_is_its_beginning(weeks: int) -> None:
    assert find_anomalies(series(hours(weeks)), matters=20) == []


def test_a_fall_of_hours_is_sudden_and_told_with_what_was_expected() -> None:
    values = hours(8)
    noon = 7 * 7 * 24 + 12
    values[noon : noon + 4] *= 0.1
    (found,) = find_anomalies(series(values), 20, RULES[:1])
    assert (found.kind, found.score < -10) == ("sudden", True)
    assert BEGIN + noon * HOUR <= found.begin <= BEGIN + (noon + 2) * HOUR
    assert found.begin <= found.end <= BEGIN + (noon + 6) * HOUR
    assert found.expected == pytest.approx(2200, rel=0.1)
    assert found.value < 0.5 * found.expected


def test_a_small_loss_that_lasts_is_found_though_no_hour_is_extraordinary() -> None:
    values = hours(8)
    values[-3 * 24 :] *= 0.85
    kinds = {found.kind for found in find_anomalies(series(values), matters=20)}
    assert kinds == {"lasting"}


def test_what_was_extraordinary_does_not_change_what_is_expected() -> None:
    values = hours(10)
    alone = find_anomalies(series(values), matters=20)
    values[5 * 7 * 24 : 5 * 7 * 24 + 24] *= 5
    after = [
        found
        for found in find_anomalies(series(values), matters=20)
        if found.begin > BEGIN + 5 * 7 * DAY + 2 * DAY
    ]
    assert after == alone == []


def test_missing_and_late_points_do_not_fire() -> None:
    values = hours(8)
    values[np.random.default_rng(3).random(len(values)) < 0.2] = np.nan
    values[6 * 7 * 24 : 6 * 7 * 24 + 48] = np.nan
    assert find_anomalies(series(values), matters=20) == []


def test_a_bucket_that_is_being_filled_is_left_out() -> None:
    rows = [(BEGIN + place * HOUR, value) for place, value in enumerate(hours(8))]
    rows.append((BEGIN + len(rows) * HOUR, 3.0))
    now = rows[-1][0] + timedelta(minutes=59)
    assert find_anomalies(regular(rows, HOUR, now), matters=20) == []
    assert len(regular(rows, HOUR, now).values) == len(rows) - 1
    assert len(regular(rows, HOUR, now + timedelta(minutes=1)).values) == len(rows)


def test_where_nothing_varied_only_what_matters_is_told() -> None:
    values = np.zeros(8 * 7 * 24)
    values[-2:] = 0.01
    assert find_anomalies(series(values), matters=0.01) == []
    values[-4:] = 0.05
    assert [found.kind for found in find_anomalies(series(values), matters=0.01)] == ["sudden"]


def test_a_week_of_points_is_judged_without_a_season() -> None:
    values = np.random.default_rng(1).normal(50, 1, 5 * 24)
    assert find_anomalies(series(values), matters=1) == []
    values[-3:] = 100
    assert "sudden" in {found.kind for found in find_anomalies(series(values), matters=1)}


def test_daily_points_are_judged_one_by_one() -> None:
    values = np.random.default_rng(2).normal(0.9, 0.005, 90)
    values[80] = 0.5
    found = find_anomalies(series(values, DAY), matters=0.01)
    assert {each.begin for each in found} == {BEGIN + 80 * DAY}


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 8 * 7 * 24 - 1))
def test_later_points_change_no_verdict(seed: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    values = hours(8, seed) * np.where(rng.random(8 * 7 * 24) < 0.01, 8, 1)
    whole = find_anomalies(series(values), 20, POINTS)
    until = BEGIN + (length - 1) * HOUR
    part = find_anomalies(series(values[:length]), 20, POINTS)
    assert [each.begin for each in part] == [each.begin for each in whole if each.begin <= until]
    ended = [each for each in whole if each.end < until - DAY]
    assert part[: len(ended)] == ended


def slowly(values: list[float], lags: list[int], least: int) -> list[float]:
    """Medians of what lies before, one by one."""
    medians = []
    for place in range(len(values)):
        before = [values[place - lag] for lag in lags if lag <= place]
        known = [value for value in before if not math.isnan(value)]
        medians.append(statistics.median(known) if len(known) >= least else math.nan)
    return medians


VALUES = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=60)


@settings(max_examples=60)
@given(VALUES, st.lists(st.integers(1, 20), min_size=1, max_size=8, unique=True))
def test_medians_of_what_came_before(values: list[float], lags: list[int]) -> None:
    least = (len(lags) + 1) // 2
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(anomalies, "_TOGETHER", 7)
        found = anomalies._median_before(np.array(values), lags, least)
    assert found == pytest.approx(slowly(values, lags, least), nan_ok=True)


@settings(max_examples=60)
@given(VALUES, st.integers(1, 40))
def test_medians_of_the_recent_past(values: list[float], window: int) -> None:
    found = anomalies._recent_median(np.array(values), window)
    least = min(anomalies.LEAST_POINTS, window)
    expected = slowly(values, list(range(1, window + 1)), least)
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("change", "places"),
    [
        (lambda values: values, []),
        (lambda values: np.where(np.arange(len(values)) < 59 * 24, values, values * 3), []),
        (lambda values: np.where(np.arange(len(values)) < 30 * 24, values, values * 1.5), [30]),
    ],
)
def test_a_level_that_changes_is_dated(
    change: Callable[[NDArray[np.float64]], NDArray[np.float64]], places: list[int]
) -> None:
    level = np.random.default_rng(4).normal(100, 3, 60 * 24)
    assert change_points(series(change(level))) == [BEGIN + place * DAY for place in places]


def test_no_level_is_dated_where_there_are_few_days_or_nothing_varies() -> None:
    assert change_points(series(np.ones(13 * 24))) == []
    assert change_points(series(np.ones(40 * 24))) == []
    assert change_points(series(np.empty(0))) == []


def test_rows_become_a_series() -> None:
    rows = [(BEGIN + 3 * HOUR, 1.0), (BEGIN, 2.0), (BEGIN, 3.0), (BEGIN + HOUR, None)]
    found = regular(rows, HOUR, BEGIN + DAY)
    assert found.begin == BEGIN
    assert found.at(3) == BEGIN + 3 * HOUR
    np.testing.assert_array_equal(found.values, [3, math.nan, math.nan, 1])
    assert len(regular([], HOUR, BEGIN).values) == 0


@pytest.mark.parametrize(
    ("step", "at", "said"),
    [
        (timedelta(hours=5), BEGIN, "no multiple"),
        (HOUR, BEGIN + timedelta(minutes=7), "between two steps"),
    ],
)
def test_steps_that_do_not_fit_are_refused(step: timedelta, at: datetime, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        regular([(BEGIN, 1.0), (at, 1.0)], step, BEGIN + 2 * DAY)


def test_an_anomaly_goes_on_after_a_gap_of_a_day_and_no_longer() -> None:
    assert anomalies._episodes([0, 24, 49], 24) == [(0, 24), (49, 49)]
