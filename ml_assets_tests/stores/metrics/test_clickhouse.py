"""Metrics in ClickHouse: what a read touches, what is kept, and what a killed write leaves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from ml_assets.stores import clickhouse
from ml_assets.stores.metrics import Points, Query, Retention, Series, Window, series
from ml_assets.stores.metrics.clickhouse import ClickHouseMetrics
from ml_assets_tests.stores.metrics.opening import (
    BEGIN,
    DAY,
    HOUR,
    MINUTE,
    QUANTILES,
    TODAY,
    WINDOW,
    assert_same,
    expected,
    written,
)

MONTHS = Window(TODAY - 40 * DAY, TODAY)
LOSS = series("loss", model="a")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseMetrics]:
    """Ten days, and two of another month, of a point in ten minutes, written at once."""
    with clickhouse.connect(None, tmp_path_factory.mktemp("home")) as client:
        opened = ClickHouseMetrics(client, Retention())
        today = np.datetime64(TODAY.replace(tzinfo=None), "us")
        days = today - np.array([40, 39, *range(10, 0, -1)]) * np.timedelta64(1, "D")
        times = (days[:, None] + np.arange(144) * np.timedelta64(10, "m")).ravel()
        values = np.random.default_rng(0).lognormal(size=len(times))
        opened.write(
            [Points(LOSS, times, values), Points(series("loss", model="b"), times, values)]
        )
        yield opened


def touched(store: ClickHouseMetrics, text: str, bound: dict[str, object]) -> tuple[int, int]:
    """Parts that a statement reads, and how many there are."""
    lines = store._client.query(f"explain indexes = 1 {text}", bound).result_rows
    *_, (read, there) = re.findall(r"Parts: (\d+)/(\d+)", "\n".join(line for (line,) in lines))
    first = re.findall(r"Parts: \d+/(\d+)", "\n".join(line for (line,) in lines))[0]
    return int(read), int(first or there)


def test_a_read_touches_the_days_of_its_window(store: ClickHouseMetrics) -> None:
    week = Query("loss", Window(TODAY - 7 * DAY, TODAY))
    text, bound, _ = store.plan(week, MINUTE, [0.5], exact=False)
    read, there = touched(store, text, bound)
    assert (read, there >= 12) == (7, True)
    text, bound, _ = store.plan(week, HOUR, [0.5], exact=True)
    read, there = touched(store, text, bound)
    assert (read, there >= 12) == (7, True)
    text, bound, _ = store.plan(week, HOUR, [0.5], exact=False)
    read, there = touched(store, text, bound)
    assert read <= 2, "months"
    assert there >= 2


def test_many_days_are_backfilled_at_once(store: ClickHouseMetrics) -> None:
    (found, _) = store.aggregate(Query("loss", MONTHS), DAY)
    assert found.counts.tolist() == [144] * 12
    assert store.sizes().rows == 2 * 12 * 144


def test_what_a_killed_write_left_is_made_good_by_the_next(store: ClickHouseMetrics) -> None:
    """The points are there, the rollups are of those that they replaced."""
    each = series("killed")
    written(store, {each: {BEGIN: 1.0, BEGIN + HOUR: 2.0}})
    stale = [[each.id, at, at] for at in (BEGIN, BEGIN + HOUR)]
    store._client.insert("metric_stale", stale, ["series", "first", "last"])
    again = [[each.id, BEGIN, 5.0], [each.id, BEGIN + HOUR, 6.0]]
    store._client.insert("metric_points", again, ["series", "at", "value"])
    query = Query("killed", WINDOW)
    (wrong,) = store.aggregate(query, DAY)
    assert wrong.counts.tolist() == [4]
    written(store, {series("another"): {BEGIN: 1.0}})
    (right,) = store.aggregate(query, DAY)
    assert (right.counts.tolist(), right.means.tolist()) == ([2], [5.5])
    assert store.refresh() == 0


def test_points_of_a_killed_write_are_rolled_up_by_the_next(
    store: ClickHouseMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points are there before their rollups; who compares them writes them no second time."""
    each, at, client = series("cut"), BEGIN + 2 * DAY, store._client

    def cut(*_: object, **__: object) -> None:
        client.command("create table cut as metric_points")
        client.insert("cut", [[each.id, at, 1.0]], ["series", "at", "value"])
        client.command(f"alter table metric_points attach partition '{at:%Y-%m-%d}' from cut")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(client, "insert_arrow", cut)
        with pytest.raises(KeyboardInterrupt):
            written(store, {each: {at: 1.0}})
    assert store.aggregate(Query("cut", WINDOW), HOUR) == []
    written(store, {series("next"): {BEGIN: 1.0}})
    for step in (MINUTE, HOUR, DAY):
        (found,) = store.aggregate(Query("cut", WINDOW), step)
        assert found.counts.tolist() == [1]
    assert store.refresh() == 0


def test_what_is_replaced_is_made_again_and_no_more(store: ClickHouseMetrics) -> None:
    """A rollup that is wrong elsewhere stays so."""
    each = series("exact")
    written(store, {each: {BEGIN + number * HOUR: 1.0 for number in range(4)}})
    other = BEGIN + 3 * HOUR
    store._client.command(
        "insert into metric_minute select * replace (6 as total) from metric_minute"
        " where series = {id:Int64} and bucket = toDateTime({at:Int64})",
        {"id": each.id, "at": int(other.timestamp())},
    )
    written(store, {each: {BEGIN: 2.0, BEGIN + HOUR: 3.0}})
    (found,) = store.aggregate(Query("exact", WINDOW), MINUTE)
    assert found.means.tolist() == [2.0, 3.0, 1.0, 3.5]


def test_quantiles_of_hours_are_those_of_sketches_however_many_rows_they_are(
    store: ClickHouseMetrics,
) -> None:
    """One row is read by its counts; of several the sketches are merged."""
    each, other = series("bins", model="a"), series("bins", model="b")
    draw = np.random.default_rng(1)
    rows: dict[Series, dict[datetime, float]] = {}
    for one in (each, other):
        values = (draw.lognormal(3, 2, 300) * draw.choice([-1, 0, 1], 300)).tolist()
        rows[one] = {BEGIN + n * 7 * MINUTE: value for n, value in enumerate(values)}
    written(store, rows)
    store._client.command("system stop merges metric_hour")
    for at in (BEGIN + 3 * HOUR, BEGIN + 5 * HOUR):
        late = {at + timedelta(seconds=1): 50.0}
        written(store, {each: late})
        rows[each] |= late
    query = Query("bins", WINDOW)
    text, bound, _ = store.plan(query, HOUR, QUANTILES, exact=False)
    levels = store._columns(text, bound, QUANTILES)["quantiles"]
    assert np.isnan(levels).all(axis=1).sum() == 2
    for by in (None, [], ["model"]):
        found = store.aggregate(replace(query, by=by), HOUR, QUANTILES)
        assert_same(found, expected(rows, HOUR, by), exact=False)
    store._client.command("system start merges metric_hour")
