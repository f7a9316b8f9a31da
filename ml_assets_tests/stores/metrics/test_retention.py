"""How long ClickHouse keeps metrics; each test has a store of its own, as it changes that."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from ml_assets.errors import StoreError
from ml_assets.stores import clickhouse, migrations
from ml_assets.stores.metrics import Query, Retention, Window, series
from ml_assets.stores.metrics.clickhouse import ClickHouseMetrics
from ml_assets.stores.migrations import read_migrations
from ml_assets_tests.stores.metrics.opening import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    QUANTILES,
    TODAY,
    assert_same,
    expected,
    written,
)

LOSS = series("loss", model="a")


def test_what_is_old_is_merged_and_dropped(tmp_path: Path) -> None:
    ten = Window(TODAY - 10 * DAY, TODAY)
    query = Query("loss", ten)
    with clickhouse.connect(None, tmp_path) as client:
        store = ClickHouseMetrics(client, Retention())
        written(store, {LOSS: {ten.begin + number * HOUR: 1.0 for number in range(240)}})
        written(store, {series("old"): {ten.begin: 1.0}})
        assert store.maintain(NOW) == [
            f"{table}: {ten.begin:%Y-%m-%d} merged from 2 parts"
            for table in ("metric_minute", "metric_points")
        ]
        assert store.maintain(NOW) == []
        short = ClickHouseMetrics(client, Retention(days=6))
        said = short.maintain(NOW)
        assert "metric_points: kept for 6 days" in said
        assert f"metric_minute: {TODAY - 7 * DAY:%Y-%m-%d} dropped" in said
        assert f"metric_points: {TODAY - 6 * DAY:%Y-%m-%d} dropped" not in said
        (of_days,) = short.aggregate(query, DAY)
        assert len(of_days.times) == 10, "rollups of days stay"
        (points,) = short.aggregate(query, DAY, exact=True)
        assert len(points.times) == 6
        assert short.maintain(NOW + timedelta(seconds=1)) == []
        # What was dropped is in rollups: written again when more is kept, it would be twice.
        longer = ClickHouseMetrics(client, Retention())
        with pytest.raises(StoreError, match=rf"before {TODAY - 6 * DAY:%Y-%m-%d}.* Leave it out$"):
            written(longer, {LOSS: {TODAY - 9 * DAY: 1.0}})
        assert written(longer, {LOSS: {TODAY - 6 * DAY: 1.0}}) == 1
        (of_days,) = longer.aggregate(query, DAY)
        assert of_days.counts.tolist() == [24] * 10
        assert longer.maintain(NOW) == [], "the write told the server already"


def test_more_is_kept_from_the_first_write_on(tmp_path: Path) -> None:
    """What was never there was not dropped."""
    at = TODAY - 500 * DAY
    with clickhouse.connect(None, tmp_path) as client:
        longer = ClickHouseMetrics(client, Retention(days=600))
        written(longer, {LOSS: {at: 1.0}})
        assert longer.maintain(NOW) == []
        (found,) = longer.aggregate(Query("loss", Window(at, at + DAY)), DAY, exact=True)
        assert found.counts.tolist() == [1]


def test_hours_are_dropped_by_the_month_whatever_the_server_does(tmp_path: Path) -> None:
    """A partition that took another's place has no TTL (ClickHouse's issue 75194)."""
    at = TODAY - 390 * DAY
    with clickhouse.connect(None, tmp_path) as client:
        store = ClickHouseMetrics(client, Retention())
        for value in (1.0, 2.0):
            written(store, {series("hours"): {at: value}})
        query = Query("hours", Window(at, at + DAY))
        store.maintain(at + 1600 * DAY)
        assert len(store.aggregate(query, HOUR)) == 1
        assert f"metric_hour: {at:%Y-%m} dropped" in store.maintain(at + 1640 * DAY)
        assert store.aggregate(query, HOUR) == []
        (days,) = store.aggregate(query, DAY)
        assert days.means.tolist() == [2.0]


def test_hours_of_the_time_before_their_bins_are_read_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration leaves them as they are; those whose points are there get bins."""
    before = [each for each in read_migrations("clickhouse") if each.name < "008"]
    old, new = TODAY - 70 * DAY, TODAY - 2 * DAY
    rows = {LOSS: {at + n * MINUTE: n / 7 - 3 for at in (old, new) for n in range(90)}}
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "read_migrations", lambda _: before)
        with clickhouse.connect(None, tmp_path) as client:
            points = [[LOSS.id, at, value] for at, value in rows[LOSS].items()]
            client.insert("metric_points", points)
            client.insert("metric_series", [[LOSS.id, LOSS.name, dict(LOSS.labels)]])
            client.command(f"alter table metric_points drop partition '{old:%Y-%m-%d}'")
    window = Window(old, TODAY)
    oracle = expected(rows, HOUR, window=window)
    with clickhouse.connect(None, tmp_path) as client:
        store = ClickHouseMetrics(client, Retention(days=60))
        query = Query("loss", window)
        text, bound, _ = store.plan(query, HOUR, QUANTILES, exact=False)

        def without() -> list[bool]:
            """Which of the four hours are not read by their bins."""
            levels = store._columns(text, bound, QUANTILES)["quantiles"]
            return [bool(each) for each in np.isnan(levels).all(axis=1)]

        assert_same(store.aggregate(query, HOUR, QUANTILES), oracle, exact=False)
        assert without() == [True] * 4
        assert f"metric_hour: {new:%Y%m} made again, with counts" in store.maintain(NOW)
        assert without() == [True, True, False, False]
        assert_same(store.aggregate(query, HOUR, QUANTILES), oracle, exact=False)
        assert store.maintain(NOW) == []
        written(store, {LOSS: {new + 3 * HOUR: 1.0}})
        assert without() == [True, True, False, False, False]
