"""Metrics as time series in ClickHouse: how trainings went, and how model versions did."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from psycopg import Cursor
from psycopg.rows import TupleRow

from ml_assets.delta import Delta
from ml_assets.registry import versions
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement
from ml_assets.training import experiments

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def copy_training_metrics(connection: postgres.Connection, client: Client) -> Delta:
    """Copy the steps of every training that ClickHouse does not hold."""
    return _copy(connection, client, "training_metrics", "run_id", experiments.metric_points)


def copy_model_performance(connection: postgres.Connection, client: Client) -> Delta:
    """Copy the metrics of every registered model version that ClickHouse does not hold."""
    key = "concat(model, '/', version)"
    return _copy(connection, client, "model_performance", key, versions.metric_points)


def training_series(client: Client) -> list[dict[str, object]]:
    """Each metric of each run: number of points, first and last value."""
    return list(client.query(statement("clickhouse/monitoring/series")).named_results())


def _copy(
    connection: postgres.Connection,
    client: Client,
    table: str,
    series: str,
    points: Callable[[postgres.Connection, Collection[str]], Cursor[TupleRow]],
) -> Delta:
    """Copy the `points` of every series that `table` does not hold; their first columns name it.

    The points of a series are one insert, and one insert is whole or absent; a point that is
    written again replaces itself.
    """
    known = client.query(f"select {series}, count() from {table} final group by all")  # noqa: S608
    counts = dict(map(tuple, known.result_rows))
    cursor = points(connection, counts)
    names = [column.name for column in cursor.description or ()]
    rows = cursor.fetchall()
    for _, batch in groupby(rows, key=itemgetter(0, 1)):
        client.insert(table, list(batch), column_names=names)
    return Delta(added=len(rows), unchanged=sum(counts.values()))
