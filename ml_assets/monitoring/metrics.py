"""Metrics as time series in ClickHouse: how trainings went, and how model versions did.

A training, or a run that computed vectors, is copied once, with the place where it ran; and again
when its model becomes a version, or is released.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from ml_assets.delta import Delta
from ml_assets.registry.versions import version_numbers
from ml_assets.releases.pointer import list_releases
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def copy_training_metrics(connection: postgres.Connection, client: Client) -> Delta:
    """Copy the steps of every training and embedding that ClickHouse does not hold as it is now."""
    came = _came_of(connection)
    known = {
        run_id: (count, stage, family, (version, release_id))
        for run_id, count, stage, family, version, release_id in client.query(
            statement("clickhouse/monitoring/known_runs")
        ).result_rows
    }
    changed = {
        run_id
        for run_id, (_, stage, family, before) in known.items()
        if came(stage, run_id, family) != before
    }
    rows = []
    with connection.cursor(row_factory=dict_row) as cursor:
        for points in ("postgres/training/points", "postgres/embeddings/points"):
            bound = {"known": sorted(known.keys() - changed)}
            rows += cursor.execute(statement(points), bound).fetchall()
    for (run_id, stage, family), group in groupby(rows, itemgetter("run_id", "stage", "family")):
        version, release_id = came(stage, run_id, family)
        written = [{**row, "version": version, "release_id": release_id} for row in group]
        _insert(client, "training_metrics", written)
    again = sum(row["run_id"] in changed for row in rows)
    unchanged = sum(count for run_id, (count, *_) in known.items() if run_id not in changed)
    return Delta(added=len(rows) - again, changed=again, unchanged=unchanged)


def copy_model_performance(connection: postgres.Connection, client: Client) -> Delta:
    """Copy the metrics of every registered model version that ClickHouse does not hold."""
    points = statement("postgres/registry/points")
    return _copy(connection, client, "model_performance", ["model", "version"], points)


def unlike_the_history(connection: postgres.Connection, client: Client) -> list[str]:
    """The runs of which ClickHouse has another number of points than they reported."""
    copied = client.query(statement("clickhouse/monitoring/known_runs")).result_rows
    there = {run_id: count for run_id, count, *_ in copied}
    told: dict[str, int] = dict(
        connection.execute(statement("postgres/training/history_lengths")).fetchall()
    )
    return [
        f"run {run_id}: {there.get(run_id, 0)} of {count} points"
        for run_id, count in sorted(told.items())
        if there.get(run_id, 0) != count
    ]


def training_series(client: Client) -> list[dict[str, object]]:
    """Each metric of each run: number of points, first and last value."""
    return list(client.query(statement("clickhouse/monitoring/series")).named_results())


def _copy(
    connection: postgres.Connection, client: Client, table: str, key: Sequence[str], points: str
) -> Delta:
    """Copy the `points` of every series that `table` does not hold; the columns of `key` name it.

    The points of a series are one insert, and one insert is whole or absent; a point that is
    written again replaces itself.
    """
    series = " || '/' || ".join(key)
    known = client.query(f"select {series}, count() from {table} final group by all")  # noqa: S608
    counts = dict(map(tuple, known.result_rows))
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(points, {"known": list(counts)}).fetchall()
    for _, batch in groupby(rows, key=itemgetter(*key)):
        _insert(client, table, list(batch))
    return Delta(added=len(rows), unchanged=sum(counts.values()))


def _insert(client: Client, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    client.insert(table, [[*row.values()] for row in rows], column_names=[*rows[0]])


def _came_of(connection: postgres.Connection) -> Callable[[str, str, str], tuple[int, int]]:
    """What came of a run, by stage, run and family: its version, and the first release with it.

    0: none yet. Vectors are of no version; the first release with their space counts.
    """
    versions = version_numbers(connection)
    models: dict[int | None, int] = {}
    spaces: dict[str | None, int] = {}
    for release in list_releases(connection):  # the first comes last
        models[release.parts.model_version] = release.release_id
        spaces[release.parts.space_id] = release.release_id

    def came(stage: str, run_id: str, family: str) -> tuple[int, int]:
        if stage == "embedding":
            return 0, spaces.get(family, 0)
        version = versions.get(run_id, 0)
        return version, models.get(version, 0)

    return came
