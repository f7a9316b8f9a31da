"""Metrics in ClickHouse, embedded or a server: views roll points up as they are inserted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_assets.stores import clickhouse
from ml_assets.stores.metrics.columns import (
    batches,
    by_series,
    groups,
    refuse_dropped,
    row_bytes,
    source,
    spans,
    split,
)
from ml_assets.stores.metrics.contract import (
    GRAINS,
    HOURS,
    Buckets,
    Chunk,
    Grain,
    Labels,
    MetricStore,
    Points,
    Query,
    Retention,
    Series,
    Sizes,
    Window,
)
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client
    from numpy.typing import NDArray

AT_ONCE = 1_000_000
"""Points of an insert: each makes a part of every day that it has points of."""

OLD = timedelta(days=7)

_ROLLUPS: Mapping[Grain, str] = {grain: f"metric_{grain}" for grain in GRAINS}
_WITH_BINS: Grain = "hour"
"""Rows of this rollup have the counts of their sketches beside them."""

_STALE = {"series": "Int64", **dict.fromkeys(("first", "last"), "DateTime64(6, 'UTC')")}
"""Columns of a note; named with their types, they need no query of the table's own."""

_MICROS = 1_000_000
# More days than an insert has by default: a year is backfilled at once.
_INSERT = {"max_partitions_per_insert_block": 0, "parallel_view_processing": 1}


@contextmanager
def open_store(url: str | None, home: Path, retention: Retention) -> Iterator[MetricStore]:
    """Open the server of `url`, or the embedded one under `home`; closed at the end."""
    with clickhouse.connect(url, home) as client:
        yield ClickHouseMetrics(client, retention)


class ClickHouseMetrics:
    """The contract on an open client."""

    def __init__(self, client: Client, retention: Retention) -> None:
        self._client, self._retention = client, retention
        self._known: set[int] = set()
        self._dropped: date | None = None

    def write(self, batch: Iterable[Points]) -> int:
        """As the contract says; a bucket is made again only where a point was replaced.

        Points are there before their rollups are: all are stale until both are.
        """
        given = batches(batch)
        if not given:
            return 0
        refuse_dropped(given, self.first_day(datetime.now(UTC)), self._retention)
        self.refresh()  # what a killed write left, before it is taken for ours
        self._name([each.series for each in given])
        bound = _ranges(given)
        rows = self._client.query(statement("clickhouse/metrics/replaced"), bound).result_rows
        replaced = {number for (number,) in rows}
        ranges = [*zip(bound["ids"], bound["firsts"], bound["lasts"], strict=True)]
        self._note(ranges)
        for table in _tables(given):
            self._client.insert_arrow("metric_points", table, settings=_INSERT)
        self._remake_all([each for each in ranges if each[0] in replaced])
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
        if not found:
            return []
        columns = self._columns(text, bound, quantiles)
        apart = columns["at"][np.isnan(columns["quantiles"]).any(axis=1)]
        if len(apart):
            # Of the last hours a rollup has several rows, until they are merged.
            begin, end = int(apart.min()), int(apart.max()) + bound["step"]
            merging = _with_quantiles("merged", quantiles)
            part = self._columns(merging, {**bound, "begin": begin, "end": end}, quantiles)
            others = (columns["at"] < begin) | (columns["at"] >= end)
            columns = {
                name: np.concatenate([each[others], part[name]]) for name, each in columns.items()
            }
            order = np.lexsort((columns["at"], columns["place"]))
            columns = {name: each[order] for name, each in columns.items()}
        return split(found, columns, quantiles)

    def plan(
        self, query: Query, step: timedelta, quantiles: Sequence[float], exact: bool
    ) -> tuple[str, dict[str, Any], list[Labels]]:
        """The statement of an aggregate, what is bound to it, and the labels of its groups.

        Quantiles of groups that are one row of the rollup each are read from its counts, and NaN
        where there are more rows. Else sketches are merged: what takes long is to build one for
        each group.
        """
        grain = source(query, step, exact)
        members = groups(query, self._series(query.name))
        begin, end = query.window.micros
        bound: dict[str, Any] = {
            "ids": [each for group in members.values() for each in group],
            "groups": [place for place, group in enumerate(members.values()) for _ in group],
            "step": step // timedelta(seconds=1),
            "begin": begin // _MICROS,
            "end": end // _MICROS,
        }
        if grain is None:
            return (
                statement("clickhouse/metrics/exact"),
                {**bound, "levels": [*quantiles]},
                [*members],
            )
        is_row = grain == _WITH_BINS and step == GRAINS[grain] and len(bound["ids"]) == len(members)
        text = _with_quantiles("of_a_row" if is_row else "merged", quantiles)
        levels = {f"level_{number}": level for number, level in enumerate(quantiles)}
        return text, {**bound, "source": _ROLLUPS[grain], **levels}, [*members]

    def first_day(self, now: datetime) -> date:
        """As the contract says; what is kept longer than before is not dropped by the server."""
        if self._dropped is None:
            self._keep(now, is_less=False)
            rows = self._client.query(statement("clickhouse/metrics/dropped")).result_rows
            ((self._dropped,),) = rows
        return max(self._retention.since(now), self._dropped)

    def refresh(self) -> int:
        """As the contract says. Nobody else writes meanwhile, as is so of runs."""
        stale = self._client.query(statement("clickhouse/metrics/stale")).result_rows
        if stale:
            self._remake_all(stale)
        return len(stale)

    def maintain(self, now: datetime) -> list[str]:
        """As the contract says; what is old is merged into one part of each day."""
        done = [f"rollups of {count} series made again"] if (count := self.refresh()) else []
        done += [*self._keep(now), *self._count_bins(self.first_day(now))]
        first = self._retention.first(None, now)
        for table, day, *_, parts in self._parts():
            if table not in ("metric_points", "metric_minute"):
                continue
            at = datetime.fromisoformat(day).replace(tzinfo=UTC)
            if first and at.date() < first:
                self._client.command(f"alter table {table} drop partition '{at:%Y-%m-%d}'")
                done.append(f"{table}: {day} dropped")
            elif at < now - OLD and parts > 1:
                self._client.command(f"optimize table {table} partition '{at:%Y-%m-%d}' final")
                done.append(f"{table}: {day} merged from {parts} parts")
        return [*done, *self._drop_months(now)]

    def sizes(self) -> Sizes:
        """As the contract says."""
        points: list[Chunk] = []
        rollups: dict[str, list[int]] = {}
        for table, partition, rows, raw, stored, _ in self._parts():
            if table == "metric_points":
                day = datetime.fromisoformat(partition).replace(tzinfo=UTC)
                window = Window(day, day + timedelta(days=1))
                points.append(Chunk(partition, rows, raw, stored, window, is_compressed=True))
            else:
                of = rollups.setdefault(table, [0, 0, 0])
                rollups[table] = [a + b for a, b in zip(of, (rows, raw, stored), strict=True)]
        counts = self._client.query(statement("clickhouse/metrics/counts")).result_rows
        written = sum(rows * row_bytes(name, labels) for name, labels, rows in counts)
        whole = [
            Chunk(table, rows, raw, stored, is_compressed=True)
            for table, (rows, raw, stored) in rollups.items()
        ]
        return Sizes(written, points, whole)

    def _drop_months(self, now: datetime) -> list[str]:
        """Drop the hours of months that are over: what took a partition's place has no TTL."""
        first = self._retention.first("hour", now)
        months = {partition for table, partition, *_ in self._parts() if table == "metric_hour"}
        gone = sorted(each for each in months if first and each < f"{first:%Y%m}")
        for month in gone:
            self._client.command(f"alter table metric_hour drop partition id '{month}'")
        return [f"metric_hour: {month[:4]}-{month[4:]} dropped" for month in gone]

    def _note(self, ranges: Sequence[Sequence[int]]) -> None:
        """Note of ranges of series that their rollups are stale."""
        rows = [[number, _time(first), _time(last)] for number, first, last in ranges]
        self._client.insert("metric_stale", rows, [*_STALE], column_type_names=[*_STALE.values()])

    def _remake_all(self, stale: Sequence[Sequence[int]]) -> None:
        """Make every rollup of ranges of series again; then none is stale any more."""
        for ranges in _apart(stale):
            for grain, span in GRAINS.items():
                self._remake(grain, span, ranges)
        self._client.command("truncate table metric_stale")

    def _remake(self, grain: Grain, span: timedelta, ranges: Sequence[Sequence[int]]) -> None:
        """Make ranges of times of a rollup again; readers see a partition before or after that."""
        rollup = _ROLLUPS[grain]
        whole = ((number, *spans(first, last, span)) for number, first, last in ranges)
        ids, firsts, ends = map(list, zip(*whole, strict=True))
        anew = f"{rollup}_anew"
        bound = {
            "source": rollup,
            "anew": anew,
            "span": span // timedelta(seconds=1),
            "ids": ids,
            "firsts": firsts,
            "ends": ends,
            "begin": min(firsts),
            "end": max(ends),
        }
        self._client.command(f"truncate table {anew}")
        bins = statement("clickhouse/metrics/bins") if grain == _WITH_BINS else ""
        remake = statement("clickhouse/metrics/remake").replace("{bins}", bins)
        self._client.command(remake, bound, settings=_INSERT)
        rows = self._client.query(statement("clickhouse/metrics/remade"), bound).result_rows
        bound["partitions"] = [partition for (partition,) in rows]
        self._client.command(statement("clickhouse/metrics/carry_over"), bound, settings=_INSERT)
        for partition in bound["partitions"]:
            replace = f"alter table {rollup} replace partition id '{partition}' from {anew}"
            self._client.command(replace)
        self._client.command(f"truncate table {anew}")

    def _columns(
        self, text: str, bound: Mapping[str, Any], quantiles: Sequence[float]
    ) -> dict[str, NDArray[Any]]:
        """The columns of an aggregate; its quantiles are of shape (rows, quantiles)."""
        table = self._client.query_arrow(text, {**bound})
        columns = {name: table[name].to_numpy() for name in table.column_names[:-1]}
        levels = table["quantiles"].combine_chunks().flatten().to_numpy()
        return {**columns, "quantiles": levels.reshape(len(table), len(quantiles))}

    def _points(self, name: str, query: Query) -> list[Points]:
        known = self._series(query.name)
        asked = {number for group in groups(query, known).values() for number in group}
        if not asked:
            return []
        begin, end = query.window.micros
        bound = {"ids": sorted(asked), "begin": begin, "end": end}
        table = self._client.query_arrow(statement(f"clickhouse/metrics/{name}"), bound)
        columns = [table[column].to_numpy() for column in ("series", "at", "value")]
        return by_series({number: known[number] for number in asked}, columns)

    def _series(self, name: str) -> dict[int, Series]:
        rows = self._client.query(
            statement("clickhouse/metrics/series"), {"name": name}
        ).result_rows
        return {number: Series(name, tuple(sorted(labels.items()))) for number, labels in rows}

    def _name(self, given: Sequence[Series]) -> None:
        """Keep the names of series that this client has not seen; twice is once."""
        new = [each for each in given if each.id not in self._known]
        if new:
            rows = [[each.id, each.name, dict(each.labels)] for each in new]
            self._client.insert("metric_series", rows, ["series", "name", "labels"])
            self._known.update(each.id for each in new)

    def _keep(self, now: datetime, *, is_less: bool = True) -> list[str]:
        """Let what the retention says be dropped by the server itself, too; what is less, if so.

        Where more is kept than before, it is noted from which day on there are points.
        """
        done = []
        rows = self._client.query(statement("clickhouse/metrics/ttl")).result_rows
        kept = {table: int(_DAYS.findall(engine)[0]) - 1 for table, engine in rows}
        for table, grain, column in _KEPT:
            days = self._retention.days * (HOURS if grain == "hour" else 1)
            if kept[table] == days or (days < kept[table] and not is_less):
                continue
            is_more = kept[table] < days
            if is_more and table == "metric_points":
                before = now.astimezone(UTC).date() - timedelta(days=kept[table])
                self._client.command(statement("clickhouse/metrics/drop"), {"before": before})
                self._dropped = None
            # Parts that are there know when to be dropped; to be told of a later day takes long.
            self._client.command(
                f"alter table {table} modify ttl toDate({column}) + interval {days + 1} day delete"
                f" settings materialize_ttl_after_modify = {is_more:d}"
            )
            done.append(f"{table}: kept for {days} days")
        return done

    def _count_bins(self, first: date) -> list[str]:
        """Make hours with all their points again that are of the time before bins were kept."""
        text, done = statement("clickhouse/metrics/without_bins"), []
        rows = self._client.query(text, {"first": first}).result_rows
        for month, of_month in groupby(rows, key=itemgetter(0)):
            self._remake(_WITH_BINS, GRAINS[_WITH_BINS], [each for _, *each in of_month])
            done.append(f"metric_{_WITH_BINS}: {month} made again, with counts")
        return done

    def _parts(self) -> Sequence[Sequence[Any]]:
        return self._client.query(statement("clickhouse/metrics/chunks")).result_rows


_DAYS = re.compile(r"toIntervalDay\((\d+)\)")
_KEPT: Sequence[tuple[str, Grain | None, str]] = (
    ("metric_points", None, "at"),
    ("metric_minute", "minute", "bucket"),
    ("metric_hour", "hour", "bucket"),
)


def _with_quantiles(how: str, quantiles: Sequence[float]) -> str:
    """The statement of an aggregate from a rollup, whose quantiles are `merged` or `of_a_row`."""
    names = [f"{{level_{number}:Float64}}" for number in range(len(quantiles))]
    key = statement("clickhouse/metrics/key_of_a_row")
    text = statement(f"clickhouse/metrics/{how}").replace("{levels}", ", ".join(names))
    text = text.replace("{keys}", ", ".join(key.replace("{level}", name) for name in names))
    text = text if names else "emptyArrayFloat64()"
    return statement("clickhouse/metrics/aggregate").replace("{quantiles}", text)


def _tables(given: Sequence[Points]) -> Iterator[pa.Table]:
    """The points of a write as Arrow tables, by time and of `AT_ONCE` rows at most."""
    import numpy as np
    import pyarrow as pa

    ids = np.repeat([each.series.id for each in given], [len(each.times) for each in given])
    times = np.concatenate([each.times for each in given])
    values = np.concatenate([each.values for each in given])
    if len(times) > AT_ONCE:
        order = np.argsort(times, kind="stable")
        ids, times, values = ids[order], times[order], values[order]
    for begin in range(0, len(times), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        at = pa.array(times[part]).cast(pa.timestamp("us", "UTC"))
        yield pa.table({"series": ids[part], "at": at, "value": values[part]})


def _ranges(given: Sequence[Points]) -> dict[str, Any]:
    """From the first to the last time of each series, and of all, in microseconds."""
    firsts, lasts = ([int(each.times[end].astype(int)) for each in given] for end in (0, -1))
    ids = [each.series.id for each in given]
    ends = {"begin": min(firsts), "end": max(lasts)}
    return {"ids": ids, "firsts": firsts, "lasts": lasts, **ends}


def _time(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _apart(stale: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """The ranges in lists of which each has a series once."""
    left = [*stale]
    while left:
        first = {number: each for each in reversed(left) for number in each[:1]}
        yield [*first.values()]
        left = [each for each in left if each not in first.values()]
