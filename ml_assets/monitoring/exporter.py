"""What Prometheus reads of a deployment: its stores, its releases and its alerts, at each scrape.

A store that cannot be read has `ml_assets_store_up` 0, and the others are told all the same. What
runs did is given by who knows their records (`defs`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import psycopg
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from psycopg.rows import dict_row

from ml_assets.errors import UserError, first_line
from ml_assets.monitoring.alerting.delivery import waiting_deliveries
from ml_assets.monitoring.alerting.ledger import read_open
from ml_assets.releases.pointer import list_releases, present_parts
from ml_assets.search.publishing.listing import count_generations
from ml_assets.settings import Settings, secret
from ml_assets.stores import clickhouse, postgres
from ml_assets.stores.sql import statement

Read: TypeAlias = Callable[[], Iterable[Metric]]
"""Reads a store; raises a UserError, or what PostgreSQL refused, where it cannot be read."""

log = logging.getLogger(__name__)

_SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True, eq=False)
class Exporter(Collector):
    """A collector of prometheus-client: one scrape after the other reads every store."""

    reads: Mapping[str, Read]
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _told: dict[str, str] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        """The metrics of every store that can be read, and how long each took."""
        up = GaugeMetricFamily("ml_assets_store_up", "Whether a store answers", labels=["store"])
        seconds = GaugeMetricFamily(
            "ml_assets_store_read_seconds", "Seconds in which a store was read", labels=["store"]
        )
        with self._turn:
            for store, read in self.reads.items():
                began = time.perf_counter()
                try:
                    found = list(read())
                except (UserError, psycopg.Error) as error:
                    up.add_metric([store], 0)
                    self._tell(store, first_line(error))
                    continue
                self._told.pop(store, None)
                up.add_metric([store], 1)
                seconds.add_metric([store], time.perf_counter() - began)
                yield from found
        yield up
        yield seconds

    def _tell(self, store: str, why: str) -> None:
        """Log why a store cannot be read, once until that changes."""
        if self._told.get(store) != why:
            log.warning("%s cannot be read: %s", store, why)
            self._told[store] = why


def registry_of(settings: Settings, more: Mapping[str, Read]) -> CollectorRegistry:
    """What a scrape asks: the stores of a deployment, and `more` by name."""
    reads: dict[str, Read] = {
        "postgres": partial(_postgres, settings),
        "files": partial(_files, settings),
        **more,
    }
    if settings.postgres_read_url:
        reads["postgres replica"] = partial(_replica, settings)
    if settings.clickhouse_url:
        reads["clickhouse"] = partial(_clickhouse, settings)
    registry = CollectorRegistry()
    registry.register(Exporter(reads))
    return registry


def gauge(
    name: str, text: str, values: Mapping[str, float] | float, label: str = ""
) -> GaugeMetricFamily:
    """A gauge of one value, or of one for each value of a label."""
    family = GaugeMetricFamily(f"ml_assets_{name}", text, labels=[label] if label else None)
    for key, value in values.items() if isinstance(values, Mapping) else [("", values)]:
        family.add_metric([key] if label else [], value)
    return family


def _counter(name: str, text: str, values: Mapping[str, float], label: str) -> CounterMetricFamily:
    family = CounterMetricFamily(f"ml_assets_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _postgres(settings: Settings) -> Iterator[Metric]:
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        tables = cursor.execute(statement("postgres/monitoring/table_sizes")).fetchall()
        (database,) = cursor.execute(statement("postgres/monitoring/database")).fetchall()
        replicas = cursor.execute(statement("postgres/monitoring/replicas")).fetchall()
        opened, waiting = read_open(connection), waiting_deliveries(connection)
        generations, releases = count_generations(connection), list_releases(connection)
        served = present_parts(connection)
    yield gauge("rows", "Rows of a table, about", {t["name"]: t["rows"] for t in tables}, "table")
    yield gauge("table_bytes", "Bytes of a table and its indexes", _by_name(tables), "table")
    yield gauge("store_bytes", "Bytes of a store", {"postgres": database["bytes"]}, "store")
    yield gauge("connections", "Connections to the database", database["connections"])
    yield gauge("connections_limit", "Connections that it takes", database["max_connections"])
    blocks = {"hit": database["blks_hit"], "read": database["blks_read"]}
    yield _counter("blocks", "Blocks from the cache (hit) or from outside it", blocks, "from")
    transactions = {"commit": database["commits"], "rollback": database["rollbacks"]}
    yield _counter("transactions", "Transactions of the database", transactions, "outcome")
    active = {"active": database["active_seconds"]}
    yield _counter("query_seconds", "Seconds in which statements ran", active, "state")
    lags = {row["replica"]: float(row["seconds"]) for row in replicas}
    yield gauge("replica_lag_seconds", "Seconds that a replica is behind", lags, "replica")
    yield gauge(
        "replica_lag_bytes", "Bytes that a replica is behind", _by_name(replicas), "replica"
    )
    yield gauge("generations", "Search generations", generations, "state")
    yield gauge("releases", "Releases so far", len(releases))
    yield gauge(
        "model_version", "The model version that is served, or 0", served.model_version or 0
    )
    counts = {name: sum(alert.severity == name for alert in opened) for name in _SEVERITIES}
    yield gauge("alerts_open", "Alerts that are open", counts, "severity")
    yield gauge("alerts_waiting", "Messages not told yet", sum(each["waiting"] for each in waiting))


def _by_name(rows: Iterable[Mapping[str, float | str]]) -> dict[str, float]:
    return {str(row.get("name") or row.get("replica")): float(row["bytes"]) for row in rows}


def _replica(settings: Settings) -> Iterator[Metric]:
    with postgres.connect_reader(settings) as connection:
        row = connection.execute(statement("postgres/monitoring/behind")).fetchone()
    if row and row[0] is not None:
        text = "Seconds that what readers see is behind"
        yield gauge("reader_lag_seconds", text, float(row[0]))


def _clickhouse(settings: Settings) -> Iterator[Metric]:
    url = secret(settings.clickhouse_url)
    with clickhouse.connect(url, settings.home) as client:
        rows = client.query(statement("clickhouse/monitoring/table_sizes")).result_rows
    text = "Rows of a table of ClickHouse"
    yield gauge("clickhouse_rows", text, {table: count for table, count, _ in rows}, "table")
    text = "Bytes of a table of ClickHouse"
    yield gauge("clickhouse_bytes", text, {table: size for table, _, size in rows}, "table")


def _files(settings: Settings) -> Iterator[Metric]:
    """What lies in the home, without opening it: who opens chDB or DuckDB keeps others out."""
    places = {
        "chdb": settings.home / "chdb",
        "duckdb": settings.duckdb_file,
        "keyword": settings.keyword_folder,
        "faiss": settings.faiss_folder,
        "chroma": settings.home / "chroma",
        "spool": settings.home / "spool",
    }
    sizes = {name: _size(path) for name, path in places.items() if path.exists()}
    yield gauge("file_bytes", "Bytes of what lies in the home", sizes, "store")


def _size(path: Path) -> int:
    """Bytes of a file, or of all below a folder; what goes away meanwhile counts not."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        try:
            total += file.lstat().st_size
        except FileNotFoundError:
            continue
    return total
