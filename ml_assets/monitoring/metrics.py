"""Metrics as time series in ClickHouse: how trainings went, and how model versions did."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from psycopg.rows import dict_row

from ml_assets.delta import Delta
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def copy_training_metrics(connection: postgres.Connection, client: Client) -> Delta:
    """Copy the steps of every training that ClickHouse does not hold."""
    points = statement("postgres/training/points")
    return _copy(connection, client, "training_metrics", ["run_id"], points)


def copy_model_performance(connection: postgres.Connection, client: Client) -> Delta:
    """Copy the metrics of every registered model version that ClickHouse does not hold."""
    points = statement("postgres/registry/points")
    return _copy(connection, client, "model_performance", ["model", "version"], points)


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
        written = list(batch)
        client.insert(table, [[*row.values()] for row in written], column_names=[*written[0]])
    return Delta(added=len(rows), unchanged=sum(counts.values()))
