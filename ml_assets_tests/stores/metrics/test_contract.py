"""What every store of metrics does, beside what pandas says."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import count

import numpy as np
import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from ml_assets.errors import StoreError
from ml_assets.stores.metrics import MetricStore, Points, Query, Series, Window, points, series
from ml_assets_tests.stores.metrics.opening import (
    BEGIN,
    DAY,
    HOUR,
    MINUTE,
    QUANTILES,
    WINDOW,
    assert_same,
    expected,
    read_back,
    written,
)

_number = count()


@pytest.fixture
def name() -> str:
    """A metric that no other test writes."""
    return f"metric_{next(_number)}"


def assert_rollups(
    store: MetricStore, name: str, rows: dict[Series, dict[datetime, float]]
) -> None:
    """Every grain, and the points themselves, say what pandas says."""
    for step in (MINUTE, HOUR, DAY):
        found = store.aggregate(Query(name, WINDOW), step, QUANTILES)
        assert_same(found, expected(rows, step), exact=False)


def test_points_come_back_as_they_were(store: MetricStore, name: str) -> None:
    a, b = series(name, model="a", release="1"), series(name, model="b c'\"{}\\", endpoint="/ä")
    at = BEGIN + timedelta(hours=5, microseconds=1)
    rows = {
        a: {at: -0.0, at + timedelta(microseconds=1): 5e-324, at + MINUTE: -1e150},
        b: {at: 0.1 + 0.2},
    }
    assert written(store, rows) == 4
    found = read_back(store.read(Query(name, WINDOW)))
    assert found == rows
    assert str(found[a][at]) == "-0.0"


def test_a_window_has_its_begin_and_not_its_end(store: MetricStore, name: str) -> None:
    each = series(name)
    written(store, {each: {BEGIN: 1.0, BEGIN + HOUR: 2.0, BEGIN + 2 * HOUR: 3.0}})
    window = Window(BEGIN + HOUR, BEGIN + 2 * HOUR)
    assert read_back(store.read(Query(name, window))) == {each: {BEGIN + HOUR: 2.0}}
    (bucket,) = store.aggregate(Query(name, window), HOUR)
    assert (bucket.counts.tolist(), bucket.means.tolist()) == ([1], [2.0])
    (last,) = store.latest(Query(name, window))
    assert last.values.tolist() == [2.0]


def test_labels_choose_and_group(store: MetricStore, name: str) -> None:
    rows = {
        series(name, model=model, host=host): {
            BEGIN + number * MINUTE: float(number + shift) for number in range(30)
        }
        for shift, (model, host) in enumerate([("a", "x"), ("a", "y"), ("b", "x")])
    }
    rows[series(name, model="c")] = {BEGIN: 7.0}
    written(store, rows)
    only = Query(name, WINDOW, {"model": "a"})
    assert {each.series for each in store.read(only)} == {
        each for each in rows if dict(each.labels)["model"] == "a"
    }
    for by in (["model"], ["host"], []):
        found = store.aggregate(Query(name, WINDOW, by=by), HOUR, QUANTILES)
        assert_same(found, expected(rows, HOUR, by), exact=False)
    assert store.read(Query(name, WINDOW, {"model": "d"})) == []
    assert store.aggregate(Query(name, WINDOW, {"model": "d"}), HOUR, QUANTILES) == []
    assert store.latest(Query("metric_of_nobody", WINDOW)) == []


def test_a_point_that_is_written_again_replaces_itself_in_every_rollup(
    store: MetricStore, name: str
) -> None:
    each, other = series(name, model="a"), series(name, model="b")
    rows = {each: {BEGIN + n * 17 * MINUTE: float(n) for n in range(200)}}
    rows[other] = {BEGIN + n * HOUR: 1.0 for n in range(50)}
    written(store, rows)
    written(store, rows)
    assert_rollups(store, name, rows)
    changed = {BEGIN + n * 17 * MINUTE: -5.0 for n in range(3, 20)}
    written(store, {each: changed})
    rows[each] |= changed
    assert read_back(store.read(Query(name, WINDOW))) == rows
    assert_rollups(store, name, rows)
    assert store.refresh() == 0


def test_of_two_points_of_a_write_at_one_time_the_last_counts(
    store: MetricStore, name: str
) -> None:
    each = series(name)
    pairs = [(BEGIN + MINUTE, 1.0), (BEGIN, 2.0), (BEGIN + MINUTE, 3.0)]
    more = points(each, [(BEGIN, 4.0)])
    assert store.write([points(each, pairs), more]) == 2
    rows = {each: {BEGIN: 4.0, BEGIN + MINUTE: 3.0}}
    assert read_back(store.read(Query(name, WINDOW))) == rows
    assert_rollups(store, name, rows)


def test_late_points_are_in_the_rollups(store: MetricStore, name: str) -> None:
    each = series(name)
    rows = {each: {BEGIN + 3 * DAY + n * MINUTE: 1.0 * n for n in range(60)}}
    written(store, rows)
    late = {BEGIN + n * HOUR + timedelta(seconds=1): 2.0 * n for n in range(72)}
    written(store, {each: late})
    rows[each] |= late
    assert_rollups(store, name, rows)


def test_the_latest_point_of_each_series(store: MetricStore, name: str) -> None:
    a, b = series(name, model="a"), series(name, model="b")
    written(store, {a: {BEGIN: 1.0, BEGIN + HOUR: 2.0}, b: {BEGIN + DAY: 3.0}})
    written(store, {a: {BEGIN + MINUTE: 4.0}})
    assert read_back(store.latest(Query(name, WINDOW))) == {
        a: {BEGIN + HOUR: 2.0},
        b: {BEGIN + DAY: 3.0},
    }
    written(store, {a: {BEGIN + HOUR: 5.0}})
    (last,) = store.latest(Query(name, WINDOW, {"model": "a"}))
    assert last.values.tolist() == [5.0]


def test_nothing_is_written_of_nothing(store: MetricStore, name: str) -> None:
    assert store.write([]) == 0
    assert store.write([points(series(name), [])]) == 0
    assert store.aggregate(Query(name, WINDOW), HOUR) == []


TIMES = st.integers(0, 4 * 24 * 3600 * 10 - 1).map(lambda n: BEGIN + n * timedelta(seconds=0.1))
SOME = st.sampled_from([BEGIN + n * 7 * MINUTE for n in range(9)])
VALUES = st.one_of(
    st.floats(-1e6, 1e6),
    st.sampled_from([0.0, 1e-12, -1e-9, 1e-9, 1e9, 1e9 + 1, -3.5, 1e17]),
)
WRITES = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b"]),
        st.dictionaries(st.one_of(TIMES, SOME), VALUES, min_size=1, max_size=25),
        min_size=1,
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=5)
@given_any(
    WRITES, st.sampled_from([MINUTE, timedelta(seconds=90), 15 * MINUTE, HOUR, 6 * HOUR, DAY])
)
def test_aggregates_are_those_of_pandas(
    store: MetricStore, writes: list[dict[str, dict[datetime, float]]], step: timedelta
) -> None:
    name = f"metric_{next(_number)}"
    rows: dict[Series, dict[datetime, float]] = {}
    for write in writes:
        for model, values in write.items():
            rows.setdefault(series(name, model=model), {}).update(values)
        written(store, {series(name, model=model): values for model, values in write.items()})
    for each, values in rows.items():
        rows[each] = dict(sorted(values.items()))
    assert read_back(store.read(Query(name, WINDOW))) == rows
    window = Window(WINDOW.begin, WINDOW.begin + step * (4 * DAY // step))
    for by in (None, []):
        query = Query(name, window, by=by)
        oracle = expected(rows, step, by, window)
        assert_same(store.aggregate(query, step, QUANTILES), oracle, exact=bool(step % MINUTE))
        assert_same(store.aggregate(query, step, QUANTILES, exact=True), oracle, exact=True)


def test_a_deviation_is_stable_and_of_one_point_there_is_none(
    store: MetricStore, name: str
) -> None:
    """Sums of squares lose all digits of 1e9 + 0, 1, 2."""
    each = series(name)
    written(store, {each: {BEGIN + n * HOUR: 1e9 + n for n in range(3)}})
    (found,) = store.aggregate(Query(name, WINDOW), DAY)
    assert found.deviations.tolist() == [1.0]
    (found,) = store.aggregate(Query(name, WINDOW), HOUR)
    assert np.isnan(found.deviations).all()


def test_a_sketch_bounds_what_it_counts(store: MetricStore, name: str) -> None:
    """Below 1e-9 all is 0, above 1e18 all is as much; the extremes are those of the points."""
    written(store, {series(name): {BEGIN: 1e150, BEGIN + MINUTE: -1e-12}})
    (found,) = store.aggregate(Query(name, WINDOW), DAY, [0.0, 1.0])
    assert found.quantiles[0.0][0] == 0
    assert found.quantiles[1.0][0] == pytest.approx(1e18, rel=0.02)
    assert (found.minima[0], found.maxima[0]) == (-1e-12, 1e150)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.1e150])
def test_a_value_that_is_no_number_writes_nothing(
    store: MetricStore, name: str, value: float
) -> None:
    with pytest.raises(ValueError, match=f"{name}: a value is no number, or beyond 1e"):
        written(store, {series(name): {BEGIN: 1.0, BEGIN + HOUR: value}})
    assert store.read(Query(name, WINDOW)) == []


def test_what_would_be_dropped_is_refused(store: MetricStore, name: str) -> None:
    first = datetime.combine(datetime.now(UTC).date() - 400 * DAY, time(), UTC)
    with pytest.raises(StoreError, match=rf"{name}: a point of .* is before .*_METRICS_DAYS"):
        written(store, {series(name): {first - timedelta(microseconds=1): 1.0}})
    written(store, {series(name): {first: 1.0}})
    (found,) = store.aggregate(Query(name, Window(first, first + DAY)), DAY)
    assert found.counts.tolist() == [1]


def test_times_are_of_this_age(store: MetricStore, name: str) -> None:
    end = datetime(2100, 1, 1, tzinfo=UTC)
    for at in (datetime(1969, 12, 31, tzinfo=UTC), end):
        with pytest.raises(ValueError, match="not between 1970 and 2099"):
            written(store, {series(name): {at: 1.0}})
    written(store, {series(name): {end - MINUTE: 1.0}})
    for step in (MINUTE, HOUR, DAY):
        for exact in (True, False):
            (found,) = store.aggregate(Query(name, Window(end - DAY, end)), step, exact=exact)
            assert found.counts.tolist() == [1]
    with pytest.raises(ValueError, match="as many times as values"):
        store.write([Points(series(name), np.zeros(2, "datetime64[us]"), np.zeros(1))])


@pytest.mark.parametrize(
    ("window", "step", "message"),
    [
        (WINDOW, timedelta(milliseconds=1500), "is not a number of seconds"),
        (WINDOW, timedelta(0), "is not a number of seconds"),
        (Window(BEGIN + MINUTE, BEGIN + HOUR), HOUR, "is not between two steps"),
        (Window(BEGIN, BEGIN + MINUTE), HOUR, "is not between two steps"),
    ],
)
def test_buckets_are_whole(
    store: MetricStore, window: Window, step: timedelta, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        store.aggregate(Query("any", window), step)


def test_sizes_are_those_of_rows(store: MetricStore, name: str) -> None:
    before, day = store.sizes(), BEGIN + 4 * DAY  # of which no other test writes
    each = series(name, model="a")
    written(store, {each: {day + n * timedelta(seconds=1): n / 7 for n in range(5000)}})
    after = store.sizes()
    (chunk,) = (each for each in after.points if each.window and each.window.begin == day)
    assert chunk.rows == 5000
    assert 0 < chunk.stored <= chunk.raw
    assert after.written > before.written + 5000 * (16 + len(name) + len('{"model":"a"}')) - 100
    assert sum(chunk.rows for chunk in after.rollups) > sum(chunk.rows for chunk in before.rollups)
