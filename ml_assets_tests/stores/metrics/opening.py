"""Stores of metrics, what is written to them, and what pandas says of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from ml_assets.stores.metrics import ACCURACY, Buckets, MetricStore, Points, Series, Window

TIMESCALEDB = "TIMESCALEDB_URL"
"""The variable with the URL of a server of `make test-servers`, as its superuser."""

PGLITE = "PGLITE_URL"
"""The same, of a server that has one database and one connection, and all of TimescaleDB."""

INFLUXDB, VICTORIA = "INFLUXDB_URL", "VICTORIA_URL"
"""The variables with the URLs of servers that take the line protocol."""

Rows = Mapping[Series, Mapping[datetime, float]]

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
NOW = datetime.now(UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
BEGIN = TODAY - 5 * DAY
"""Times of tests are of these days: older ones would be dropped."""

WINDOW = Window(BEGIN, BEGIN + 4 * DAY)
QUANTILES = (0.0, 0.25, 0.5, 0.95, 1.0)


def written(store: MetricStore, rows: Rows) -> int:
    """Write rows of series."""
    return store.write(as_points(rows))


def as_points(rows: Rows) -> Iterable[Points]:
    for each, values in rows.items():
        times = np.array([at.replace(tzinfo=None) for at in values], dtype="datetime64[us]")
        yield Points(each, times, np.array([*values.values()], dtype=np.float64))


def read_back(given: Sequence[Points]) -> dict[Series, dict[datetime, float]]:
    return {
        each.series: {
            at.astype(datetime).replace(tzinfo=UTC): float(value)
            for at, value in zip(each.times, each.values, strict=True)
        }
        for each in given
    }


def expected(
    rows: Rows, step: timedelta, by: Sequence[str] | None = None, window: Window = WINDOW
) -> pd.DataFrame:
    """What pandas says of the rows, by labels of the group and bucket."""
    frame = pd.DataFrame(
        [
            (_group(each, by), at, value)
            for each, values in rows.items()
            for at, value in values.items()
            if window.begin <= at < window.end
        ],
        columns=["group", "at", "value"],
    )
    seconds = step // timedelta(seconds=1)
    stamps = frame["at"].map(lambda at: math.floor(at.timestamp()) // seconds * seconds)
    values = frame.groupby(["group", stamps])["value"]
    table = values.agg(["count", "mean", "min", "max", "std"])
    for level in QUANTILES:
        table[level] = values.quantile(level, interpolation="lower")
    return table


def given(found: Sequence[Buckets]) -> pd.DataFrame:
    """What a store says, in the same form."""
    frames = [
        pd.DataFrame(
            {
                "group": [each.labels] * len(each.times),
                "at": each.times.astype("datetime64[s]").astype(int),
                "count": each.counts,
                "mean": each.means,
                "min": each.minima,
                "max": each.maxima,
                "std": each.deviations,
                **each.quantiles,
            }
        )
        for each in found
    ]
    return pd.concat(frames).set_index(["group", "at"]) if frames else pd.DataFrame()


def assert_same(found: Sequence[Buckets], oracle: pd.DataFrame, exact: bool) -> None:
    """Counts and extremes are equal, means up to rounding, quantiles within the sketch's bound."""
    table = given(found)
    assert [*table.index] == [*oracle.index]
    for name in ("count", "min", "max"):
        assert (table[name] == oracle[name]).all(), name
    magnitude = float(np.abs(oracle[["min", "max"]]).to_numpy().max(initial=0.0))
    close = {"rtol": 1e-9, "atol": 1e-9 * magnitude + 1e-300}
    np.testing.assert_allclose(table["mean"], oracle["mean"], **close)
    np.testing.assert_allclose(table["std"], oracle["std"], rtol=1e-6, atol=1e-7 * magnitude)
    for level in QUANTILES:
        bound = {"rtol": 0, "atol": 0} if exact else {"rtol": ACCURACY + 1e-9, "atol": 1e-9}
        np.testing.assert_allclose(table[level], oracle[level], **bound)


def _group(each: Series, by: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    if by is None:
        return each.labels
    labels = dict(each.labels)
    return tuple((key, labels.get(key, "")) for key in by)
