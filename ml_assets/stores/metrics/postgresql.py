"""Metrics in TimescaleDB, or in plain PostgreSQL: what the server says decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from ml_assets.errors import StoreError, first_line
from ml_assets.stores import postgres
from ml_assets.stores.metrics import layouts
from ml_assets.stores.metrics.columns import (
    batches,
    by_series,
    groups,
    refuse_dropped,
    row_bytes,
    source,
    split,
)
from ml_assets.stores.metrics.contract import (
    Buckets,
    Labels,
    MetricStore,
    Points,
    Query,
    Retention,
    Series,
    Sizes,
)
from ml_assets.stores.metrics.layouts import Layout
from ml_assets.stores.migrations import find_pending
from ml_assets.stores.sql import statement

SCHEMA = "ml_metrics"
SETTING = "TIMESERIES_URL"

OLD = timedelta(days=7)
"""Age of what is compressed."""

AT_ONCE = 50_000
"""Points of a statement."""

_MICROS = 1_000_000
_SKETCH = {True: sql.SQL("metric_sketch_merge(sketch)"), False: sql.SQL("null::bigint[]")}
_COLUMNS = ("place", "at", "counts", "mean", "lowest", "highest", "spread")


@contextmanager
def open_store(url: str | None, home: Path, retention: Retention) -> Iterator[MetricStore]:
    """Open the database of `url`; closed at the end.

    Raises:
        StoreError: there is no URL; it does not answer, or refuses something in the block.
    """
    if url is None:
        raise StoreError("it is not set", where=SETTING, do="Set it to the URL of a PostgreSQL")
    with postgres.open_plain(url, SETTING) as connection:
        try:
            yield PostgresMetrics(connection, _made(connection), retention)
        except psycopg.Error as error:
            do = "Check the server, its log and its disk, and run again"
            raise StoreError(first_line(error), where=SETTING, do=do) from None


class PostgresMetrics:
    """The contract on an open connection, of tables as `layout` has them."""

    def __init__(
        self, connection: postgres.Connection, layout: Layout, retention: Retention
    ) -> None:
        self._connection, self.layout, self._retention = connection, layout, retention

    def write(self, batch: Iterable[Points]) -> int:
        """As the contract says, in a transaction for `AT_ONCE` points."""
        given = batches(batch)
        refuse_dropped(given, self.first_day(datetime.now(UTC)), self._retention)
        for ids, times, values in _columns(given):
            with self._connection.transaction():
                # Who rolls up beside another does not see what that one has not committed yet.
                self._execute("take_turn")
                self._name(given)
                self.layout.prepare(self._connection, times)
                bound = {"ids": ids.tolist(), "times": times.tolist(), "values": values.tolist()}
                self._execute("write", bound)
                self.layout.roll_up(self._connection, ids, times)
            self.layout.refresh(self._connection)
        return sum(len(each.times) for each in given)

    def read(self, query: Query) -> list[Points]:
        """As the contract says."""
        return self._points("points", query)

    def latest(self, query: Query) -> list[Points]:
        """As the contract says."""
        return self._points("latest", query)

    def aggregate(
        self, query: Query, step: timedelta, quantiles: Sequence[float] = (), exact: bool = False
    ) -> list[Buckets]:
        """As the contract says."""
        import numpy as np

        text, bound, found = self.plan(query, step, quantiles, exact)
        rows = self._connection.execute(text, bound).fetchall() if found else []
        if not rows:
            return []
        *columns, levels = zip(*rows, strict=True)
        arrays = {name: np.array(each) for name, each in zip(_COLUMNS, columns, strict=True)}
        arrays["spread"] = arrays["spread"].astype(np.float64)
        arrays["quantiles"] = np.array(levels, dtype=np.float64).reshape(len(rows), -1)
        return split(found, arrays, quantiles)

    def plan(
        self, query: Query, step: timedelta, quantiles: Sequence[float], exact: bool
    ) -> tuple[sql.Composed, dict[str, Any], list[Labels]]:
        """The statement of an aggregate, what is bound to it, and the labels of its groups."""
        grain = source(query, step, exact)
        members = groups(query, self._series(query.name))
        begin, end = query.window.micros
        bound = {
            "ids": [each for group in members.values() for each in group],
            "groups": [place for place, group in enumerate(members.values()) for _ in group],
            "step": step // timedelta(seconds=1),
            "begin": begin // _MICROS,
            "end": end // _MICROS,
            "levels": [*quantiles],
        }
        name = "exact" if grain is None else "aggregate"
        text = sql.SQL(statement(f"timescaledb/metrics/{name}"))
        rollup = sql.Identifier(f"metric_{grain or 'points'}")
        return text.format(source=rollup, sketch=_SKETCH[bool(quantiles)]), bound, [*members]

    def first_day(self, now: datetime) -> date:
        """As the contract says."""
        ((before,),) = self._execute("dropped").fetchall()
        since = self._retention.since(now)
        return max(since, before or since)

    def refresh(self) -> int:
        """As the contract says."""
        return self.layout.refresh(self._connection)

    def maintain(self, now: datetime) -> list[str]:
        """As the contract says."""
        count = self.refresh()
        done = [f"rollups of {count} ranges made again"] if count else []
        done += self.layout.compress(self._connection, now - OLD)
        self._execute("drop", {"before": self._retention.since(now)})
        return [*done, *self.layout.drop(self._connection, self._retention, now)]

    def sizes(self) -> Sizes:
        """As the contract says."""
        counts = self._execute("counts").fetchall()
        written = sum(rows * row_bytes(name, labels) for name, labels, rows in counts)
        chunks = self.layout.chunks(self._connection)
        return Sizes(written, *chunks, self.layout.has_intervals)

    def _points(self, name: str, query: Query) -> list[Points]:
        import numpy as np

        known = self._series(query.name)
        asked = {number for group in groups(query, known).values() for number in group}
        begin, end = query.window.micros
        rows = self._execute(name, {"ids": sorted(asked), "begin": begin, "end": end}).fetchall()
        if not rows:
            return []
        ids, times, values = zip(*rows, strict=True)
        columns = (np.array(ids), np.array(times, np.int64), np.array(values, np.float64))
        return by_series({number: known[number] for number in asked}, columns)

    def _series(self, name: str) -> dict[int, Series]:
        rows = self._execute("series", {"name": name}).fetchall()
        return {number: Series(name, tuple(sorted(labels.items()))) for number, labels in rows}

    def _name(self, given: Sequence[Points]) -> None:
        named = [(each.series.id, each.series.name, dict(each.series.labels)) for each in given]
        ids, names, labels = zip(*named, strict=True)
        bound = {"ids": [*ids], "names": [*names], "labels": [*map(Jsonb, labels)]}
        self._execute("name", bound)

    def _execute(self, name: str, bound: Mapping[str, Any] | None = None) -> Any:
        return self._connection.execute(statement(f"timescaledb/metrics/{name}"), bound)


def _columns(given: Sequence[Points]) -> Iterator[tuple[Any, Any, Any]]:
    """Ids, times in microseconds, and values of `AT_ONCE` points at most, by time."""
    import numpy as np

    if not given:
        return
    ids = np.repeat([each.series.id for each in given], [len(each.times) for each in given])
    times = np.concatenate([each.times for each in given]).astype(np.int64)
    values = np.concatenate([each.values for each in given])
    order = np.argsort(times, kind="stable")
    for begin in range(0, len(times), AT_ONCE):
        part = order[begin : begin + AT_ONCE]
        yield ids[part], times[part], values[part]


def _made(connection: postgres.Connection) -> Layout:
    """The layout of the tables, which are made where there are none."""
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ml_metrics.migrations'))")
        connection.execute(f"create schema if not exists {SCHEMA}")
    connection.execute(f"set search_path to {SCHEMA}, public")
    layouts.create_extension(connection)
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ml_metrics.migrations'))")
        connection.execute(statement("timescaledb/metrics/create_ledger"))
        rows = connection.execute("select name, checksum from migrations").fetchall()
        for migration in find_pending("timescaledb", dict(rows), SETTING):
            connection.execute(migration.text)
            record = "insert into migrations (name, checksum) values (%s, %s)"
            connection.execute(record, [migration.name, migration.checksum])
        return layouts.find(connection)
