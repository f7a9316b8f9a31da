"""How points and rollups lie in PostgreSQL: partitions, hypertables, continuous aggregates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import psycopg
from psycopg import sql

from ml_assets.stores.metrics.contract import GRAINS, Chunk, Grain, Retention, Window, floor
from ml_assets.stores.postgres import Connection
from ml_assets.stores.sql import statement

DAY = timedelta(days=1)

RECENT = timedelta(hours=2)
"""What is younger is refreshed by the policies of continuous aggregates, and read from the points
until then: an hour less than what the shortest of them looks back."""

FEWEST, MOST = 100_000, 1_000_000
"""Rows that a chunk should have: fewer are planned for longer than read, more do not fit memory."""

_SPANS: Mapping[str, str] = {
    "metric_minute": "1 day",
    "metric_hour": "10 days",
    "metric_day": "100 days",
}
"""Of the chunks of continuous aggregates: by default they are so long that none is ever old."""

_MICROS = 1_000_000


class Layout(Protocol):
    """What differs between the ways that points and rollups lie."""

    has_intervals: bool
    """Whether a person sets the span of time that a chunk of points is of."""

    def prepare(self, connection: Connection, times: Any) -> None:
        """Make room for points at these times, in microseconds."""

    def roll_up(self, connection: Connection, ids: Any, times: Any) -> None:
        """In the transaction of a write: make its rollups, or note which are to be made."""

    def refresh(self, connection: Connection) -> int:
        """Make the rollups that were noted; return how many ranges that were."""

    def compress(self, connection: Connection, before: datetime) -> list[str]:
        """Compress what ended before that; say what was."""

    def drop(self, connection: Connection, retention: Retention, now: datetime) -> list[str]:
        """Drop what is not kept any more; say what was."""

    def chunks(self, connection: Connection) -> tuple[Sequence[Chunk], Sequence[Chunk]]:
        """What points take, and rollups."""


class Partitions:
    """Plain PostgreSQL: a partition for each day, and tables of rollups."""

    has_intervals = False

    def prepare(self, connection: Connection, times: Any) -> None:
        """A partition for each day that is written, where there is none."""
        for day in sorted({int(at) for at in times // (86_400 * _MICROS)}):
            begin = datetime.fromtimestamp(day * 86_400, UTC)
            partition = f"metric_points_{begin:%Y%m%d}"
            if _value(connection, "select to_regclass(%s)", [partition]) is None:
                text = sql.SQL(statement("timescaledb/metrics/add_partition")).format(
                    partition=sql.Identifier(partition),
                    begin=sql.Literal(begin),
                    end=sql.Literal(begin + DAY),
                )
                connection.execute(text)

    def roll_up(self, connection: Connection, ids: Any, times: Any) -> None:
        """The minutes that were written, from the points; hours from these, days from hours."""
        import numpy as np

        finer: Grain | None = None
        for grain in GRAINS:
            span = GRAINS[grain] // timedelta(seconds=1)
            seconds = times // (_MICROS * span) * span
            pairs = np.unique(np.stack([ids, seconds]), axis=1)
            bound = {
                "ids": pairs[0].tolist(),
                "seconds": pairs[1].tolist(),
                "series": np.unique(ids).tolist(),
                "span": span,
                "begin": int(seconds.min()),
                "end": int(seconds.max()) + span,
            }
            name = "roll_up" if finer else "roll_points"
            text = sql.SQL(statement(f"timescaledb/metrics/{name}")).format(
                target=sql.Identifier(f"metric_{grain}"),
                source=sql.Identifier(f"metric_{finer or 'points'}"),
            )
            connection.execute(text, bound)
            finer = grain

    def refresh(self, connection: Connection) -> int:
        """Nothing: a write makes its own."""
        return 0

    def compress(self, connection: Connection, before: datetime) -> list[str]:
        """Nothing: PostgreSQL has no compression of rows."""
        return []

    def drop(self, connection: Connection, retention: Retention, now: datetime) -> list[str]:
        """Drop the partitions of days, and delete old rollups."""
        first = retention.first(None, now)
        done = []
        for name, _ in connection.execute(statement("timescaledb/metrics/partitions")).fetchall():
            day = datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC)
            if first and day.date() < first:
                connection.execute(sql.SQL("drop table {}").format(sql.Identifier(name)))
                done.append(f"metric_points: {day:%Y-%m-%d} dropped")
        return done + _expire(connection, retention, now)

    def chunks(self, connection: Connection) -> tuple[Sequence[Chunk], Sequence[Chunk]]:
        """The partitions, and the tables of rollups."""
        rows = _rows(connection)
        found = []
        for name, size in connection.execute(
            statement("timescaledb/metrics/partitions")
        ).fetchall():
            day = datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC)
            found.append(Chunk(name, rows.get(name, 0), size, size, Window(day, day + DAY)))
        return found, _rollups(connection)


class Hypertable(Partitions):
    """TimescaleDB under the Apache licence: a hypertable of points, and tables of rollups."""

    has_intervals = True

    def prepare(self, connection: Connection, times: Any) -> None:
        """Nothing: a hypertable makes its chunks."""

    def drop(self, connection: Connection, retention: Retention, now: datetime) -> list[str]:
        """Drop chunks, and delete old rollups."""
        return _drop_chunks(connection, "points", retention, None, now) + _expire(
            connection, retention, now
        )

    def chunks(self, connection: Connection) -> tuple[Sequence[Chunk], Sequence[Chunk]]:
        """The chunks of the hypertable, and the tables of rollups."""
        return _chunks(connection, {}), _rollups(connection)


class ContinuousAggregates(Hypertable):
    """TimescaleDB with all it has: rollups are continuous aggregates, and chunks compressed."""

    def roll_up(self, connection: Connection, ids: Any, times: Any) -> None:
        """Note what no policy will see: what is older than the window it refreshes."""
        first, last = (datetime.fromtimestamp(int(at) // _MICROS, UTC) for at in _ends(times))
        if first < datetime.now(UTC) - RECENT:
            connection.execute("insert into metric_stale values (%s, %s)", [first, last])

    def refresh(self, connection: Connection) -> int:
        """Refresh exactly the ranges that were noted, in whole buckets of each aggregate."""
        stale = connection.execute("select ctid, first, last from metric_stale").fetchall()
        for mark, first, last in stale:
            for grain in GRAINS:
                span = GRAINS[grain]
                begin, end = (floor(at, span) for at in (first, last))
                # A window of less than two buckets is refused.
                connection.execute(
                    "call refresh_continuous_aggregate(%s, %s, %s)",
                    [f"metric_{grain}", begin, max(end + span, begin + 2 * span)],
                )
            connection.execute("delete from metric_stale where ctid = %s", [mark])
        return len(stale)

    def compress(self, connection: Connection, before: datetime) -> list[str]:
        """Compress chunks, which the policies do as well where there are background jobs."""
        _compress_aggregates(connection)  # of a database that was made before they were
        text = statement("timescaledb/metrics/uncompressed")
        names = [name for (name,) in connection.execute(text, {"before": before}).fetchall()]
        for name in names:
            connection.execute("select compress_chunk(%s::regclass)", [name])
        return [f"{name}: compressed" for name in names]

    def drop(self, connection: Connection, retention: Retention, now: datetime) -> list[str]:
        """Drop chunks of points and of the aggregates."""
        done = _drop_chunks(connection, "points", retention, None, now)
        for grain in GRAINS:
            done += _drop_chunks(connection, grain, retention, grain, now)
        return done

    def chunks(self, connection: Connection) -> tuple[Sequence[Chunk], Sequence[Chunk]]:
        """The chunks of the hypertable, with what compression saved, and the aggregates."""
        rows = connection.execute(statement("timescaledb/metrics/compressed")).fetchall()
        compressed = {name: (before, after) for name, before, after in rows}
        sizes = []
        for grain in GRAINS:
            name = f"metric_{grain}"
            count = _value(
                connection, sql.SQL("select count(*) from {}").format(sql.Identifier(name))
            )
            size = _value(
                connection, statement("timescaledb/metrics/aggregate_size"), {"name": name}
            )
            sizes.append(Chunk(name, count, size, size))
        return _chunks(connection, compressed), sizes


def create_extension(connection: Connection) -> None:
    """Create TimescaleDB where the server has it and lets us; else all is plain."""
    row = connection.execute(statement("timescaledb/metrics/extension")).fetchone()
    if row == (False, True):
        # It may be installed and not loaded, or be the superuser's to create.
        with suppress(psycopg.Error):
            connection.execute("create extension if not exists timescaledb schema public")


def find(connection: Connection) -> Layout:
    """The layout of the tables; where there are none, the best that the server can is made."""
    kind = _value(connection, statement("timescaledb/metrics/kind"))
    if kind is None:
        kind = _best(connection)
        points = "create_partitioned" if kind == "plain" else "create_hypertable"
        rollups = "create_aggregates" if kind == "continuous" else "create_rollups"
        for name in (points, rollups):
            connection.execute(statement(f"timescaledb/metrics/{name}"))
        if kind == "continuous":
            _compress_aggregates(connection)
    return _LAYOUTS[kind]


_LAYOUTS: dict[str, Layout] = {
    "plain": Partitions(),
    "hypertable": Hypertable(),
    "continuous": ContinuousAggregates(),
}


def advice(chunks: Sequence[Chunk]) -> str | None:
    """What is wrong with the number of rows in a chunk, and the interval to set; None: nothing.

    The newest chunk is not full, and does not count.
    """
    full = [each for each in chunks if each.window][:-1]
    if not full:
        return None
    rows = sum(each.rows for each in full) / len(full)
    if FEWEST <= rows <= MOST:
        return None
    span = max(each.window.end - each.window.begin for each in full if each.window)
    hours = span / timedelta(hours=1) * (FEWEST * MOST) ** 0.5 / max(rows, 1.0)
    unit, count = ("hours", hours) if hours < 24 else ("days", hours / 24)
    return (
        f"a chunk has {rows:,.0f} rows, and should have {FEWEST:,} to {MOST:,}: select"
        f" set_chunk_time_interval('metric_points', interval '{max(1, round(count))} {unit}')"
    )


def _best(connection: Connection) -> str:
    row = connection.execute(statement("timescaledb/metrics/extension")).fetchone()
    if row is None or not row[0]:
        return "plain"
    licence = _value(connection, "select current_setting('timescaledb.license', true)")
    return "continuous" if licence == "timescale" else "hypertable"


def _compress_aggregates(connection: Connection) -> None:
    """Have old chunks of continuous aggregates compressed, of those that are not yet."""
    text = sql.SQL(statement("timescaledb/metrics/compress_aggregate"))
    found = connection.execute(statement("timescaledb/metrics/plain_aggregates")).fetchall()
    for name, table in found:
        filled = text.format(
            table=sql.Literal(table),
            span=sql.Literal(_SPANS[name]),
            view=sql.Identifier(name),
            name=sql.Literal(name),
        )
        connection.execute(filled)


def _value(connection: Connection, text: Any, bound: Any = None) -> Any:
    row = connection.execute(text, bound).fetchone()
    return row and row[0]


def _ends(times: Any) -> tuple[Any, Any]:
    return times.min(), times.max()


def _expire(connection: Connection, retention: Retention, now: datetime) -> list[str]:
    done = []
    for grain in GRAINS:
        if first := retention.first(grain, now):
            text = sql.SQL(statement("timescaledb/metrics/expire"))
            table = sql.Identifier(f"metric_{grain}")
            gone = connection.execute(text.format(table=table), {"first": first}).rowcount
            done += [f"metric_{grain}: {gone} rows before {first} deleted"] if gone else []
    return done


def _drop_chunks(
    connection: Connection, name: str, retention: Retention, grain: Grain | None, now: datetime
) -> list[str]:
    first = retention.first(grain, now)
    if first is None:
        return []
    text = "select drop_chunks(%s::regclass, %s::timestamptz)"
    gone = connection.execute(text, [f"metric_{name}", first]).fetchall()
    return [f"metric_{name}: chunk {chunk} dropped" for (chunk,) in gone]


def _rows(connection: Connection) -> dict[str, int]:
    """How many points a partition or chunk has."""
    return {
        name.rpartition(".")[2]: count
        for name, count in connection.execute(statement("timescaledb/metrics/rows")).fetchall()
    }


def _rollups(connection: Connection) -> list[Chunk]:
    text = sql.SQL(statement("timescaledb/metrics/rollup"))
    found = []
    for grain in GRAINS:
        name = f"metric_{grain}"
        filled = text.format(table=sql.Literal(name), source=sql.Identifier(name))
        (row,) = connection.execute(filled).fetchall()
        found.append(Chunk(name, row[0], row[1], row[1]))
    return found


def _chunks(connection: Connection, compressed: dict[str, tuple[int, int]]) -> list[Chunk]:
    rows = _rows(connection)
    found = []
    for name, begin, end, is_compressed, size in connection.execute(
        statement("timescaledb/metrics/chunks")
    ).fetchall():
        raw, stored = compressed.get(name, (size, size))
        count = rows.get(name, 0)
        found.append(Chunk(name, count, raw, stored, Window(begin, end), bool(is_compressed)))
    return found
