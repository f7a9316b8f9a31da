"""Metrics as time series in ClickHouse: how trainings went, and how model versions did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ml_assets.delta import Delta
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_TRAINING = ("run_id", "family", "split", "metric", "step", "value", "logged_at")
_PERFORMANCE = ("model", "version", "metric", "value", "at")


def copy_training_metrics(connection: postgres.Connection, client: Client) -> Delta:
    """Copy the history of every experiment that ClickHouse does not hold in full.

    The rows of a run are one insert, and one insert is whole or absent; a row that is written again
    replaces itself.
    """
    known = client.query("select run_id, count() from training_metrics final group by run_id")
    counts: dict[str, int] = {row[0]: row[1] for row in known.result_rows}
    rows = connection.execute(
        statement("postgres/monitoring/histories"), {"known": list(counts)}
    ).fetchall()
    added = 0
    for run_id, family, history, at in rows:
        series = [
            (run_id, family, split, metric, step, value, at)
            for step, split, metric, value in history
        ]
        client.insert("training_metrics", series, column_names=_TRAINING)
        added += len(series)
    return Delta(added=added, unchanged=sum(counts.values()))


def copy_model_performance(connection: postgres.Connection, client: Client) -> Delta:
    """Copy the metrics of every registered model version that ClickHouse does not hold."""
    known = client.query("select model, version, count() from model_performance final group by all")
    counts = {(model, version): count for model, version, count in known.result_rows}
    rows: list[Sequence[object]] = []
    for model, version, metrics, at in _versions(connection):
        if (model, version) not in counts:
            rows += [(model, version, name, float(value), at) for name, value in metrics.items()]
    if rows:
        client.insert("model_performance", rows, column_names=_PERFORMANCE)
    return Delta(added=len(rows), unchanged=sum(counts.values()))


def training_series(client: Client) -> list[dict[str, object]]:
    """Each metric of each run: number of points, first and last value."""
    series = client.query(statement("clickhouse/monitoring/series"))
    names = ("run_id", "family", "split", "metric", "points", "first", "last")
    return [dict(zip(names, row, strict=True)) for row in series.result_rows]


def _versions(
    connection: postgres.Connection,
) -> list[tuple[str, int, dict[str, float], datetime]]:
    return connection.execute(statement("postgres/monitoring/versions")).fetchall()
