"""The benchmark of metrics, on a few points."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bench import metrics as bench
from ml_assets.stores import metrics
from ml_assets.stores.metrics import Query, Window

END = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
WINDOW = Window(END - bench.DAYS * bench.DAY, END)


def test_a_store_is_measured_raw_and_rolled_up(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "REPETITIONS", 2)
    with metrics.connect("timeseries", postgres_url, tmp_path) as store:
        assert bench._kind(store) == "PostgreSQL"
        rows = bench.measure(store, "PostgreSQL", 2_000, is_judged=True)
        assert rows[0].limit
        assert rows[0].limit.at_least == 200_000
        last = rows[4]
        assert last.measured.name == "hourly p95 of 30 days, rolled up"
        assert (len(last.measured.samples), str(last.limit)) == (2, "≤ 50 ms")
        assert last.against
        (off,) = (row for row in rows if row.measured.name == "largest error of p95")
        assert off.reached
        assert store.sizes().rows == 2_000
        points, values = (row for row in rows if row.measured.name == "points")
        assert points.limit is None, "nothing is compressed"
        assert values.against
        assert values.against.median == bench.entropy(2_000, WINDOW) / 2**20
        # The oracle of the benchmark sees what is wrong.
        store._connection.execute(  # type: ignore[attr-defined]
            "update metric_hour set low = low - 1"
        )
        with pytest.raises(AssertionError, match="minima"):
            bench.error(store, Query(bench.NAME, WINDOW))


def test_the_entropy_of_values_is_in_bytes() -> None:
    assert bench._entropy(np.array([1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0])) == 2.0
    assert bench._entropy(np.ones(8)) == 0.0


def test_points_are_the_same_each_time_and_in_order() -> None:
    first, again = (list(bench.made(2_000, WINDOW, at_once=500)) for _ in range(2))
    assert len(first) == 4
    for one, other in zip(first, again, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a.times == b.times).all()
            assert (a.values == b.values).all()
    times = np.concatenate([batch[0].times for batch in first])
    assert len(times) == 100
    assert (times[1:] > times[:-1]).all()
    ends = [np.datetime64(at.replace(tzinfo=None)) for at in (WINDOW.begin, WINDOW.end)]
    assert ends[0] <= times[0] < times[-1] < ends[1]
