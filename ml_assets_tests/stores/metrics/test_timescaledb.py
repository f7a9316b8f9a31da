"""What TimescaleDB does beside the contract, where its licence has it: in `make test-servers`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml_assets.stores import metrics
from ml_assets.stores.metrics import Points, Query, Retention, Window, series
from ml_assets.stores.metrics.layouts import ContinuousAggregates
from ml_assets.stores.metrics.postgresql import PostgresMetrics
from ml_assets_tests.stores.metrics.opening import (
    DAY,
    HOUR,
    MINUTE,
    PGLITE,
    TODAY,
    assert_same,
    expected,
    written,
)

pytestmark = pytest.mark.skipif(
    PGLITE not in os.environ,
    reason="no TimescaleDB with all it has: make test-servers ONLY=metrics",
)


@pytest.fixture(scope="module")
def store(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresMetrics]:
    with metrics.connect("timeseries", database, tmp_path_factory.mktemp("home")) as opened:
        assert isinstance(opened, PostgresMetrics)
        assert isinstance(opened.layout, ContinuousAggregates)
        opened._connection.prepare_threshold = None  # all connections are one session there
        yield opened


def materialized(store: PostgresMetrics, view: str, window: Window) -> int:
    """Rows that a continuous aggregate has kept of a window."""
    text = (
        "select format('%%I.%%I', materialization_hypertable_schema,"
        " materialization_hypertable_name) from timescaledb_information.continuous_aggregates"
        " where view_name = %s"
    )
    ((table,),) = store._connection.execute(text, [view]).fetchall()
    bound = [window.begin, window.end]
    count = f"select count(*) from {table} where bucket >= %s and bucket < %s"
    return int(store._connection.execute(count, bound).fetchall()[0][0])  # type: ignore[arg-type]


def test_what_no_policy_sees_is_refreshed_and_no_more(store: PostgresMetrics) -> None:
    """Points that came in another way, around what is written, stay out of the aggregates."""
    each, day = series("late"), TODAY - 50 * DAY
    written(store, {each: {day: 1.0, day + 5 * DAY: 1.0}})
    hidden = {day + 2 * DAY + n * HOUR: 2.0 for n in range(24)}
    rows = [(each.id, at, value) for at, value in hidden.items()]
    for row in rows:
        store._connection.execute("insert into metric_points values (%s, %s, %s)", row)
    late = Window(day + 2 * DAY, day + 3 * DAY)
    assert materialized(store, "metric_minute", late) == 0
    noon = day + 2 * DAY + 12 * HOUR
    written(store, {each: {noon + MINUTE: 3.0, noon + 2 * HOUR: 4.0}})
    assert materialized(store, "metric_hour", late) == 3
    assert materialized(store, "metric_minute", late) == 3
    assert store.refresh() == 0


def test_a_killed_refresh_is_made_good(
    store: PostgresMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    each, at = series("killed"), TODAY - 40 * DAY

    def fail(*_: object) -> int:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(ContinuousAggregates, "refresh", fail)
        with pytest.raises(RuntimeError):
            written(store, {each: {at: 1.0}})
    assert store.maintain(datetime.now(UTC))[0] == "rollups of 1 ranges made again"
    window = Window(at, at + DAY)
    (found,) = store.aggregate(Query("killed", window), HOUR)
    assert found.counts.tolist() == [1]


def test_a_week_is_compressed_and_written_again(store: PostgresMetrics) -> None:
    begin = TODAY - 20 * DAY
    start = np.datetime64(begin.replace(tzinfo=None), "us")
    times = start + np.arange(20_000) * np.timedelta64(4, "s")
    values = np.round(np.random.default_rng(0).lognormal(3, 0.5, len(times)), 3)
    each = series("packed", model="a", release="1")
    store.write([Points(each, times, values)])
    said = store.maintain(datetime.now(UTC))
    assert any("compressed" in line for line in said)
    window = Window(begin, begin + DAY)
    (chunk,) = (c for c in store.sizes().points if c.window and c.window.begin == begin)
    assert chunk.is_compressed
    assert chunk.stored < 0.15 * chunk.raw
    rows = {at.astype(datetime).replace(tzinfo=UTC): v for at, v in zip(times, values, strict=True)}
    changed = dict.fromkeys([*rows][:100], -1.0)
    written(store, {each: changed})
    query = Query("packed", window)
    found = store.aggregate(query, HOUR, [0.0, 0.25, 0.5, 0.95, 1.0])
    assert_same(found, expected({each: {**rows, **changed}}, HOUR, None, window), exact=False)


def test_the_policies_do_the_same(store: PostgresMetrics) -> None:
    """There are no jobs in the background here, so they are run."""
    jobs = store._connection.execute(
        "select job_id, proc_name from timescaledb_information.jobs where job_id >= 1000"
    ).fetchall()
    names = sorted(name for _, name in jobs)
    refreshed = ["policy_refresh_continuous_aggregate"] * 3
    assert names == [*["policy_compression"] * 4, *refreshed]
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    each = series("recent")
    written(store, {each: {now - timedelta(minutes=n): 1.0 for n in range(10, 40)}})
    window = Window(now - HOUR, now)
    assert materialized(store, "metric_minute", window) == 0
    (found,) = store.aggregate(Query("recent", window), MINUTE)
    assert found.counts.sum() == 30, "what is not kept yet is read from the points"
    for job, _ in jobs:
        store._connection.execute("call run_job(%s)", [job])
    assert materialized(store, "metric_minute", window) == 30


def test_chunks_are_dropped_by_age(store: PostgresMetrics) -> None:
    short = PostgresMetrics(store._connection, store.layout, Retention(days=30))
    said = short.maintain(datetime.now(UTC))
    assert any(line.startswith("metric_points: chunk") for line in said)
    query = Query("late", Window(TODAY - 60 * DAY, TODAY))
    assert short.read(query) == []
    (days,) = short.aggregate(query, DAY)
    assert days.counts.sum() >= 4, "rollups of days stay"
