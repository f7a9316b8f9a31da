"""`make bench-metrics`: metrics in each store: writing, reading, and what they take on the disk.

Latencies of twenty models over thirty days, in order, as they would come. ClickHouse is embedded,
PostgreSQL is that of the wheel; `--timeseries URL` takes a server instead, such as TimescaleDB.
Prints one table, and writes bench/results/metrics.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.measure import PROJECT, keep, machine, say
from bench.rows import Figure, Limit, Row, as_json, table
from ml_assets.stores import metrics, postgres
from ml_assets.stores.metrics import ACCURACY, Buckets, MetricStore, Points, Query, Window, series

Floats = NDArray[np.float64]

RESULTS = PROJECT / "bench" / "results" / "metrics.json"

MODELS = 20
DAYS = 30
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
LATER = 120 * DAY
"""When all chunks are old and compressed, those of rollups by the day among them."""

NAME = "latency_ms"
REPETITIONS = 5


def main() -> None:
    """Measure each store, print the table and keep it."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=__doc__)
    parser.add_argument("--points", type=int, default=10_000_000, help="in ClickHouse")
    parser.add_argument("--rows", type=int, default=1_000_000, help="in PostgreSQL")
    parser.add_argument("--timeseries", default="", help="the URL of a TimescaleDB or PostgreSQL")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    report = {"began": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ml_assets-bench-") as folder, ExitStack() as stack:
        home = Path(folder)
        if asked.points:
            with metrics.connect("clickhouse", None, home) as store:
                rows += measure(store, "ClickHouse", asked.points, True)
        if asked.rows:
            stack.callback(postgres.stop, home)
            url = asked.timeseries or postgres.server_url(None, home, "metrics")
            with metrics.connect("timeseries", url, home) as store:
                rows += measure(store, _kind(store), asked.rows, False)
    keep({**report, "rows": [as_json(row) for row in rows]}, asked.output)
    print(table(rows))
    say(f"Written: {asked.output}")


def measure(store: MetricStore, name: str, points: int, is_judged: bool) -> list[Row]:
    """What a store takes for so many points; the limits are those of ClickHouse."""
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    window = Window(end - DAYS * DAY, end)
    taken = 0.0
    for batch in made(points, window):
        began = time.perf_counter()
        store.write(batch)
        taken += time.perf_counter() - began
    say(f"{name}: {points:,} points written in {taken:.1f} s")
    what = f"{name}, {points:,} points"
    rate = Figure("written", (points / taken,), "/s")
    rows = [Row(what, rate, limit=Limit(at_least=200_000) if is_judged else None)]
    query = Query(NAME, window)
    for span, label in (
        (HOUR, "1 hour"),
        (DAY, "24 hours"),
        (7 * DAY, "7 days"),
        (DAYS * DAY, "30 days"),
    ):
        part = Query(NAME, Window(end - span, end))
        rolled = timed(f"hourly p95 of {label}, rolled up", store, part, False, REPETITIONS)
        raw = timed("from the points", store, part, True, 1)
        limit = Limit(plus=50, unit="ms") if is_judged and span == DAYS * DAY else None
        rows.append(Row(what, rolled, raw, limit))
    rows.append(
        Row(
            what,
            Figure("largest error of p95", (error(store, query),), ""),
            limit=Limit(plus=ACCURACY, unit=""),
        )
    )
    began = time.perf_counter()
    store.maintain(end + LATER)
    say(f"{name}: maintained in {time.perf_counter() - began:.1f} s")
    return [*rows, *taken_on_disk(what, store, entropy(points, window), is_judged)]


def taken_on_disk(what: str, store: MetricStore, least: float, is_judged: bool) -> list[Row]:
    """Bytes of points and rollups beside those of rows, and the `least` that values can take."""
    sizes = store.sizes()
    is_compressed = any(chunk.is_compressed for chunk in sizes.points)
    written = Figure("as rows: name, labels, time, value", (sizes.written / 2**20,), "MiB")
    stored = Figure("on the disk, with rollups", (sizes.stored / 2**20,), "MiB")
    raw = sum(chunk.raw for chunk in sizes.points)
    points = Figure("points", (sum(chunk.stored for chunk in sizes.points) / 2**20,), "MiB")
    before = Figure("before compression: series, time, value", (raw / 2**20,), "MiB")
    rolled = Figure("rollups", (sum(chunk.stored for chunk in sizes.rollups) / 2**20,), "MiB")
    entropy_of_values = Figure("entropy of the values", (least / 2**20,), "MiB")
    return [
        Row(what, stored, written, Limit(0.15) if is_judged else None),
        # A row of PostgreSQL has a header and an index beside its columns.
        Row(what, points, before, Limit(0.15) if is_compressed and not is_judged else None),
        Row(what, points, entropy_of_values),
        Row(what, rolled, points),
    ]


def entropy(points: int, window: Window) -> float:
    """Bytes that no code of the values one by one can do without (Shannon): a floor of sizes.

    Times are regular, and need none.
    """
    of_models: list[list[Floats]] = [[] for _ in range(MODELS)]
    for batch in made(points, window):
        for values, each in zip(of_models, batch, strict=True):
            values.append(each.values)
    return sum(_entropy(np.concatenate(values)) for values in of_models)


def _entropy(values: Floats) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / len(values))).sum() / 8)


def made(points: int, window: Window, at_once: int = 500_000) -> Iterator[list[Points]]:
    """Latencies in milliseconds, to the microsecond, by time: a day or less of all models each."""
    draw = np.random.default_rng(0)
    names = [
        series(NAME, model=f"model-{number}", release=str(number), endpoint="/v1/predict")
        for number in range(MODELS)
    ]
    each = points // MODELS
    begin = np.datetime64(window.begin.replace(tzinfo=None), "us")
    span = (window.end - window.begin) // timedelta(microseconds=1)
    for first in range(0, each, at_once // MODELS):
        numbers = np.arange(first, min(first + at_once // MODELS, each))
        yield [
            Points(
                name,
                begin + (numbers * span // each + place * 1000).astype("timedelta64[us]"),
                np.round(draw.lognormal(3 + place / 20, 0.5, len(numbers)), 3),
            )
            for place, name in enumerate(names)
        ]


def timed(name: str, store: MetricStore, query: Query, exact: bool, repetitions: int) -> Figure:
    """Milliseconds of hourly 95th percentiles."""
    samples = []
    for _ in range(repetitions):
        began = time.perf_counter()
        store.aggregate(query, HOUR, [0.95], exact)
        samples.append(1000 * (time.perf_counter() - began))
    return Figure(name, tuple(samples), "ms")


def error(store: MetricStore, query: Query) -> float:
    """The largest relative error of hourly 95th percentiles; all else must be equal.

    Raises:
        AssertionError: counts, means or extremes of rollups are not those of the points; or there
            are none.
    """
    worst = 0.0
    found = store.aggregate(query, HOUR, [0.95])
    assert found, "there is nothing to compare"
    for rolled, raw in zip(found, store.aggregate(query, HOUR, [0.95], True), strict=True):
        _assert_equal(rolled, raw)
        off = np.abs(rolled.quantiles[0.95] / raw.quantiles[0.95] - 1)
        worst = max(worst, float(off.max()))
    return worst


def _assert_equal(rolled: Buckets, raw: Buckets) -> None:
    assert rolled.labels == raw.labels
    for name in ("times", "counts", "minima", "maxima"):
        assert (getattr(rolled, name) == getattr(raw, name)).all(), name
    for name in ("means", "deviations"):
        np.testing.assert_allclose(getattr(rolled, name), getattr(raw, name), rtol=1e-9)


def _kind(store: MetricStore) -> str:
    layout = type(getattr(store, "layout", store)).__name__
    names = {"Hypertable": "TimescaleDB (Apache)", "ContinuousAggregates": "TimescaleDB"}
    return names.get(layout, "PostgreSQL")


if __name__ == "__main__":
    main()
