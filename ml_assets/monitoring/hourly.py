"""How models answer, hour by hour, and on which days that was out of the ordinary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ml_assets.monitoring.anomalies import (
    DAY,
    Anomaly,
    Series,
    change_points,
    find_anomalies,
    midnight,
    regular,
)
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

HOUR = timedelta(hours=1)

HISTORY = 70 * DAY
"""What says what is ordinary on a day: 28 days before it, and of each of them the weeks before."""

MATTERS: Mapping[str, float] = {
    "predictions": 20.0,
    "probability": 0.05,
    "p95_ms": 5.0,
    "accuracy": 0.05,
}
"""The metrics that are watched, and the least deviation of each that is told: predictions an hour,
their mean probability, the 95th percentile of the latency in milliseconds, the share of answers
that were right, where that is known."""


@dataclass(frozen=True, slots=True)
class Found:
    """An anomaly of a metric of a model, as it was known at the end of a day, in UTC."""

    day: date
    model: str
    metric: str
    kind: str
    began_at: datetime
    ended_at: datetime
    score: float
    value: float
    expected: float


def roll_up(client: Client, first: date, last: date) -> None:
    """Compute the hours of these days from the prediction log; what was there is replaced."""
    client.command(statement("clickhouse/monitoring/roll_up"), {"first": first, "last": last})


def hourly(client: Client, first: date, last: date) -> list[dict[str, Any]]:
    """The hours of these days by model version, the first hour first."""
    bound = {"begin": midnight(first), "end": midnight(last + DAY)}
    return list(client.query(statement("clickhouse/monitoring/hourly"), bound).named_results())


def watch(client: Client, days: Sequence[date], now: datetime) -> list[Found]:
    """Find what is out of the ordinary on consecutive days, and keep that instead of what was."""
    found = sorted(
        (
            each
            for (model, metric), series in _read(client, days, now).items()
            for each in _judged(series, model, metric, days)
        ),
        key=astuple,
    )
    bound = {"first": days[0], "last": days[-1]}
    client.command(statement("clickhouse/monitoring/forget_anomalies"), bound)
    if found:
        names = [field.name for field in fields(Found)]
        client.insert("anomalies", [[*astuple(each)] for each in found], column_names=names)
    return found


def read_anomalies(client: Client, first: date, last: date) -> list[Found]:
    """What was out of the ordinary on these days, the first day first."""
    bound = {"first": first, "last": last}
    rows = client.query(statement("clickhouse/monitoring/anomalies"), bound).named_results()
    times = ("began_at", "ended_at")
    return [Found(**{**row, **{name: _utc(row[name]) for name in times}}) for row in rows]


def level_changes(client: Client, day: date, now: datetime) -> list[dict[str, Any]]:
    """From which days of the ten weeks until `day` on a metric has had another level."""
    return [
        {"model": model, "metric": metric, "since": since.date()}
        for (model, metric), series in _read(client, [day], now).items()
        for since in change_points(series)
    ]


def read_series(client: Client, model: str, metric: str, first: date, last: date) -> Series:
    """A metric of a model by the hour, over some days."""
    until = midnight(last + DAY)
    bound = {"begin": midnight(first), "end": until}
    rows = client.query(statement("clickhouse/monitoring/hourly_by_model"), bound).named_results()
    chosen = [(_utc(row["hour"]), row[metric]) for row in rows if row["model"] == model]
    return regular(chosen, HOUR, until)


def read_hours(client: Client, begin: datetime, until: datetime) -> dict[tuple[str, str], Series]:
    """Every metric of every model by the hour; an hour that is not over at `until` is left out."""
    bound = {"begin": begin, "end": until}
    rows = client.query(statement("clickhouse/monitoring/hourly_by_model"), bound).named_results()
    return {
        (model, metric): regular(
            [(_utc(row["hour"]), row[metric]) for row in of_model], HOUR, until
        )
        for model, group in groupby(rows, itemgetter("model"))
        for of_model in [list(group)]
        for metric in MATTERS
    }


def _read(client: Client, days: Sequence[date], now: datetime) -> dict[tuple[str, str], Series]:
    until = min(midnight(days[-1] + DAY), now)
    return read_hours(client, midnight(days[0]) - HISTORY, until)


def _judged(series: Series, model: str, metric: str, days: Sequence[date]) -> Iterator[Found]:
    """Each day by what was known at its end, as if it were judged alone.

    All days are looked at together first: what is ordinary then is so alone.
    """
    together = find_anomalies(series, MATTERS[metric])
    for day in days:
        if any(_meets(anomaly, day) for anomaly in together):
            alone = _cut(series, midnight(day) - HISTORY, midnight(day + DAY))
            for anomaly in find_anomalies(alone, MATTERS[metric]):
                if _meets(anomaly, day):
                    times = (anomaly.begin, anomaly.end)
                    numbers = (anomaly.score, anomaly.value, anomaly.expected)
                    yield Found(day, model, metric, anomaly.kind, *times, *numbers)


def _cut(series: Series, begin: datetime, end: datetime) -> Series:
    first = max(0, (begin - series.begin) // series.step)
    values = series.values[first : max(0, (end - series.begin) // series.step)]
    return replace(series, begin=series.at(first), values=values)


def _meets(anomaly: Anomaly, day: date) -> bool:
    return anomaly.begin < midnight(day + DAY) and midnight(day) <= anomaly.end


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)
