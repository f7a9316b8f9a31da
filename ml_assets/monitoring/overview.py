"""What is watched, at a glance: how models answer by the hour, how good search is by the day."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ml_assets.monitoring.anomalies import DAY
from ml_assets.monitoring.daily import ANSWERS, search_quality
from ml_assets.monitoring.hourly import MATTERS, read_anomalies, read_hours
from ml_assets.search.evaluation.metrics import NDCG

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

HOURS = timedelta(hours=48)
DAYS = 30 * DAY


@dataclass(frozen=True, slots=True)
class Watched:
    """A series until now, with None where nothing is known, and when its last value was.

    `deviation` is that of an anomaly of today or yesterday, in standard deviations; None: there is
    none.
    """

    series: str
    metric: str
    values: tuple[float | None, ...]
    last: float
    at: datetime
    deviation: float | None = None


def overview(client: Client, now: datetime) -> list[Watched]:
    """Every model of the last two days, and every generation that served in the last month."""
    return [*_models(client, now), *_searches(client, now)]


def _models(client: Client, now: datetime) -> Iterator[Watched]:
    today = now.date()
    deviations = {
        (each.model, each.metric): each.score for each in read_anomalies(client, today - DAY, today)
    }
    for (model, metric), series in sorted(read_hours(client, now - HOURS, now).items()):
        values = [None if math.isnan(value) else float(value) for value in series.values]
        known = [place for place, value in enumerate(values) if value is not None]
        if known and metric in MATTERS:
            place = known[-1]
            score = deviations.get((model, metric))
            last = float(series.values[place])
            yield Watched(model, metric, tuple(values), last, series.at(place), score)


def _searches(client: Client, now: datetime) -> Iterator[Watched]:
    rows = search_quality(client, (now - DAYS).date(), now.date())
    wanted = [
        row
        for row in rows
        if row["is_served"] and row["method"] == ANSWERS and row["metric"] in (NDCG, "p95_ms")
    ]
    for metric, of_metric in _grouped(wanted):
        last = of_metric[-1]
        values = tuple(float(row["value"]) for row in of_metric)
        name = f"search {last['generation_id']}"
        yield Watched(name, metric, values, values[-1], last["measured_at"])


def _grouped(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """By metric, one row for each day: of the generation that was served last on it."""
    metrics = sorted({row["metric"] for row in rows})
    of_metric = [(metric, [row for row in rows if row["metric"] == metric]) for metric in metrics]
    return [
        (metric, [*{row["day"]: row for row in sorted(group, key=_when)}.values()])
        for metric, group in of_metric
    ]


def _when(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row["day"], row["measured_at"]
