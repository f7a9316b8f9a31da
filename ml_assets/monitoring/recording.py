"""What the rooms computed, as points in the store of metrics, each with run, release and version.

A source is a statement of the room that owns the tables. A row of it is a series: `metric`, the
`times` of its points in microseconds since 1970, their `values`; what else it has are labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from ml_assets.delta import Delta
from ml_assets.registry.versions import version_numbers
from ml_assets.releases.pointer import list_releases
from ml_assets.settings import Settings, secret
from ml_assets.stores import duckdb, metrics, postgres
from ml_assets.stores.metrics import MetricStore, Points, Query, Retention, Series, Window, series
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import numpy as np
    from clickhouse_connect.driver.client import Client

_OF_POSTGRES = (
    "postgres/training/metric_points",
    "postgres/embeddings/metric_points",
    "postgres/search/evaluation/metric_points",
    "postgres/documents/metric_points",
)
_POINTS = ("metric", "times", "values")
_CAME_LATER = frozenset({"version", "release"})
"""What came of a run or a generation is known later: the series keeps the labels it got first."""


@contextmanager
def open_metrics(settings: Settings, client: Client | None = None) -> Iterator[MetricStore]:
    """Open the store of metrics; on a `client` of ClickHouse, where that is the store.

    Raises:
        StoreError: it cannot be opened, or refuses something in the block.
    """
    kind, retention = settings.metrics_kind, Retention(settings.metrics_days)
    if client is not None and kind == "clickhouse":
        yield metrics.on_client(client, retention)
        return
    url = secret(settings.metrics_url)
    with metrics.connect(kind, url, settings.home, retention) as store:
        yield store


def points_of_runs(connection: postgres.Connection, window: Window) -> list[Points]:
    """What PostgreSQL tells of a span of time: trainings, embeddings, search, documents."""
    return _series_of(_rows_of_runs(connection, window), _labels_of(connection))


def points_of_days(
    connection: postgres.Connection, duck: duckdb.Connection, client: Client, window: Window
) -> list[Points]:
    """All that is told of some days: by PostgreSQL, by DuckDB (drift), by ClickHouse (answers)."""
    bound = {"begin": window.begin, "end": window.end}
    found = duck.execute(statement("duckdb/features/metric_points"), bound)
    names = [name for name, *_ in found.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    rows += client.query(statement("clickhouse/monitoring/metric_points"), bound).named_results()
    rows += _rows_of_runs(connection, window)
    return _series_of(rows, _labels_of(connection))


def first_unrecorded(connection: postgres.Connection, since: datetime) -> datetime | None:
    """When the first of what the runs did `since` then happened; None: they did nothing."""
    found = points_of_runs(connection, Window(since, datetime.now(UTC) + timedelta(minutes=1)))
    if not found:
        return None
    return max(since, min(_moment(each.times[0]) for each in found))


def record(store: MetricStore, given: Sequence[Points], kept_since: datetime) -> Delta:
    """Write the points that the store does not have as they are, and that are of a day it keeps."""
    import numpy as np

    first = np.datetime64(kept_since.astimezone(UTC).replace(tzinfo=None), "us")
    kept = [each for each in (_from(each, first) for each in given) if len(each.times)]
    if not kept:
        return Delta()
    ends = [_moment(each.times[end]) for each in kept for end in (0, -1)]
    window = Window(min(ends), max(ends) + timedelta(microseconds=1))
    names = sorted({each.series.name for each in kept})
    there = {
        _identity(each.series): each for name in names for each in store.read(Query(name, window))
    }
    compared = [_compared(each, there.get(_identity(each.series))) for each in kept]
    store.write(fresh for fresh, _ in compared)
    return sum((delta for _, delta in compared), Delta())


def count_by_day(given: Sequence[Points]) -> dict[date, int]:
    """How many points there are of each day that has one, in UTC."""
    import numpy as np

    if not given:
        return {}
    days = np.concatenate([each.times.astype("datetime64[D]") for each in given])
    found, counts = np.unique(days, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _rows_of_runs(connection: postgres.Connection, window: Window) -> list[dict[str, Any]]:
    bound = {"begin": window.begin, "end": window.end}
    with connection.cursor(row_factory=dict_row) as cursor:
        return [row for name in _OF_POSTGRES for row in cursor.execute(statement(name), bound)]


def _series_of(
    rows: Iterable[Mapping[str, Any]], labels_of: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> list[Points]:
    """Rows of sources as points: finite values alone, and of one time the last."""
    import numpy as np

    found = []
    for row in rows:
        labels = {
            name: str(value)[: metrics.LONGEST_LABEL]
            for name, value in labels_of(row).items()
            if name not in _POINTS and value not in (None, "")
        }
        name = re.sub(r"\W", "_", row["metric"].replace("@", "_at_"), flags=re.ASCII)
        times = np.array(row["times"], np.int64).view("datetime64[us]")
        values = np.array(row["values"], np.float64)
        chosen = (np.abs(values) <= metrics.LARGEST) & np.append(times[1:] != times[:-1], True)
        if chosen.any():
            found.append(Points(series(name, **labels), times[chosen], values[chosen]))
    return found


def _labels_of(connection: postgres.Connection) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """What gives a row the version that came of its run, and the first release with its part."""
    versions, releases = version_numbers(connection), dict[tuple[str, str], int]()
    for release in list_releases(connection):  # the first comes last
        parts = release.parts
        named = {
            "version": parts.model_version,
            "generation": parts.generation_id,
            "space": parts.space_id,
        }
        releases.update({(part, str(value)): release.release_id for part, value in named.items()})

    def labels_of(row: Mapping[str, Any]) -> dict[str, Any]:
        labels = {"version": versions.get(row.get("run", "")), "release": None, **row}
        known = [(part, str(labels.get(part) or "")) for part in ("version", "generation", "space")]
        first = next((releases[each] for each in known if each in releases), None)
        return {**labels, "release": labels["release"] or first}

    return labels_of


def _identity(each: Series) -> Series:
    """What a series is told by: of a run, or a generation, without what came of that."""
    labels = dict(each.labels)
    if not {"run", "generation"} & labels.keys():
        return each
    return Series(each.name, tuple(pair for pair in each.labels if pair[0] not in _CAME_LATER))


def _moment(at: np.datetime64) -> datetime:
    moment: datetime = at.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)


def _from(each: Points, first: Any) -> Points:
    later = each.times >= first
    return replace(each, times=each.times[later], values=each.values[later])


def _compared(given: Points, before: Points | None) -> tuple[Points, Delta]:
    """The points that are not there, or are there with another value; and how many are which."""
    import numpy as np

    if before is None:
        return given, Delta(added=len(given.times))
    places = np.searchsorted(before.times, given.times).clip(max=len(before.times) - 1)
    there = before.times[places] == given.times
    same = there & (before.values[places] == given.values)
    fresh = Points(before.series, given.times[~same], given.values[~same])
    changed = int((there & ~same).sum())
    return fresh, Delta(int((~there).sum()), changed, unchanged=int(same.sum()))
