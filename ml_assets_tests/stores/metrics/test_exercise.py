"""The first exercise of docs/monitoring.md on TimescaleDB, with a million points."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml_assets.stores import metrics
from ml_assets.stores.metrics import ACCURACY, Query, Window, points, series
from ml_assets.stores.metrics.postgresql import PostgresMetrics
from ml_assets_tests.stores.metrics.opening import DAY, HOUR, PGLITE, TODAY

pytestmark = pytest.mark.skipif(
    PGLITE not in os.environ,
    reason="no TimescaleDB with all it has: make test-servers ONLY=metrics",
)

MODELS, DAYS, EACH = 20, 30, 50_000
LATENCY = [series("latency_ms", model=f"model-{number}") for number in range(MODELS)]
LATER = 120 * DAY
"""When all chunks are old, those of rollups by the day among them."""

RANGES = (HOUR, DAY, 7 * DAY, 30 * DAY, 365 * DAY)
MADE = """
insert into metric_points
select
    %(id)s, %(begin)s + number * %(step)s,
    round(exp(3 + sqrt(-ln(1 - random()) / 2) * cos(2 * pi() * random()))::numeric, 3)
from generate_series(%(first)s::int, %(last)s::int) as number
"""
"""Log-normal, of three places after the point, as clocks of microseconds tell milliseconds."""


@pytest.fixture(scope="module")
def store(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresMetrics]:
    """A million latencies of twenty models, made by the server: long messages end it."""
    with metrics.connect("timeseries", database, tmp_path_factory.mktemp("home")) as opened:
        assert isinstance(opened, PostgresMetrics)
        connection = opened._connection
        connection.prepare_threshold = None
        begin = TODAY - DAYS * DAY
        opened.write(points(each, [(begin, 1.0)]) for each in LATENCY)
        at_once = EACH // DAYS
        step = DAYS * DAY / EACH
        for first in range(1, EACH, at_once):
            last = min(first + at_once, EACH) - 1
            ends = [begin + number * step for number in (first, last)]
            bound = {"begin": begin, "step": step, "first": first, "last": last}
            for each in LATENCY:
                connection.execute(MADE, {**bound, "id": each.id})
            connection.execute("insert into metric_stale values (%s, %s)", ends)
            opened.refresh()
        yield opened


def run_jobs(store: PostgresMetrics, policy: str) -> None:
    """There are no jobs in the background here."""
    text = "select job_id from timescaledb_information.jobs where proc_name = %s"
    for (job,) in store._connection.execute(text, [policy]).fetchall():
        store._connection.execute("call run_job(%s)", [job])


def took(store: PostgresMetrics, query: Query, step: timedelta, exact: bool) -> float:
    started = time.perf_counter()
    store.aggregate(query, step, [0.95], exact)
    return 1000 * (time.perf_counter() - started)


def test_ranges_from_the_points_and_from_the_aggregates(store: PostgresMetrics) -> None:
    for span in RANGES:
        step = HOUR if span <= DAY else DAY
        query = Query("latency_ms", Window(TODAY - span, TODAY))
        for rolled, raw in zip(
            store.aggregate(query, step, [0.95]),
            store.aggregate(query, step, [0.95], exact=True),
            strict=True,
        ):
            assert (rolled.counts == raw.counts).all()
            error = np.abs(rolled.quantiles[0.95] / raw.quantiles[0.95] - 1)
            assert error.max() <= ACCURACY + 1e-9
        taken = [took(store, query, step, exact) for exact in (True, False)]
        print(f"{span}: {taken[0]:.0f} ms from the points, {taken[1]:.0f} ms from the aggregate")


def test_compression_by_its_policy_saves_most(store: PostgresMetrics) -> None:
    before = store.sizes()
    assert before.rows == MODELS * EACH
    run_jobs(store, "policy_compression")
    week_ago = TODAY - 8 * DAY
    old = [each for each in store.sizes().points if each.window and each.window.end <= week_ago]
    assert len(old) >= DAYS - 9
    assert all(each.is_compressed for each in old)
    store.maintain(datetime.now(UTC) + LATER)
    after = store.sizes()
    stored = sum(each.stored for each in after.points)
    rows = sum(each.raw for each in after.points)
    print(f"points: {rows:,} bytes, {stored:,} compressed")
    for each, other in zip(before.rollups, after.rollups, strict=True):
        print(
            f"{each.name}: {each.rows:,} rows, {each.stored:,} bytes, {other.stored:,} compressed"
        )
        assert other.stored < 0.5 * each.stored
    assert stored <= 0.15 * rows
