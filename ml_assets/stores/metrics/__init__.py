"""Metrics as time series: points of named, labelled series, and their rollups.

One module per store, and a line of `_OPEN`. Not here: what is measured (`monitoring`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.stores.metrics import clickhouse, postgresql
from ml_assets.stores.metrics.contract import (
    ACCURACY,
    EPOCH,
    GRAINS,
    LARGEST,
    LONGEST_LABEL,
    Buckets,
    Chunk,
    MetricStore,
    Points,
    Query,
    Retention,
    Series,
    Sizes,
    Window,
    floor,
    points,
    series,
)
from ml_assets.stores.metrics.layouts import advice

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = [
    "ACCURACY",
    "EPOCH",
    "GRAINS",
    "LARGEST",
    "LONGEST_LABEL",
    "Buckets",
    "Chunk",
    "MetricStore",
    "Points",
    "Query",
    "Retention",
    "Series",
    "Sizes",
    "Window",
    "advice",
    "connect",
    "floor",
    "on_client",
    "points",
    "series",
]

_OPEN: dict[str, Callable[[str | None, Path, Retention], AbstractContextManager[MetricStore]]] = {
    "clickhouse": clickhouse.open_store,
    "timeseries": postgresql.open_store,
}


def connect(
    kind: str, url: str | None, home: Path, retention: Retention | None = None
) -> AbstractContextManager[MetricStore]:
    """Open the store of this kind, of a `url` or embedded under `home`; closed at the end."""
    return _OPEN[kind](url, home, retention or Retention())


def on_client(client: Client, retention: Retention) -> MetricStore:
    """The store on a client of ClickHouse that is open already: a folder of chDB has one."""
    return clickhouse.ClickHouseMetrics(client, retention)
