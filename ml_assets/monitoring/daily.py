"""How models answered, and how good and how fast search was, day by day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from ml_assets.monitoring.anomalies import DAY, midnight
from ml_assets.releases.pointer import Release, list_releases
from ml_assets.search.evaluation.measurement import KeptMeasurement, kept_measurements
from ml_assets.search.evaluation.metrics import NDCG
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MOST_LOST = 0.05
"""Of macro-F1, or nDCG@10, before it is told."""

ANSWERS = "hybrid"
"""The method that answers searches, to which their latency belongs."""


@dataclass(frozen=True, slots=True)
class SearchQuality:
    """A metric of a search generation, as it was known at the end of a day, in UTC.

    `method`: what answered, or an index; `metric`: as it was measured, `recall@10` against exact
    search, or `p50_ms` and `p95_ms` of a search.
    """

    day: date
    generation_id: str
    is_served: bool
    method: str
    metric: str
    value: float
    measured_at: datetime


def roll_up_days(client: Client, first: date, last: date) -> None:
    """Compute these days from their hours; what was there is replaced."""
    client.command(statement("clickhouse/monitoring/roll_up_days"), {"first": first, "last": last})


def performance_by_day(client: Client, first: date, last: date) -> list[dict[str, Any]]:
    """The days by model version, the first day first; latencies in milliseconds."""
    query, bound = statement("clickhouse/monitoring/daily"), {"first": first, "last": last}
    return list(client.query(query, bound).named_results())


def performance_of_model(
    client: Client, model: str, first: date, last: date
) -> list[dict[str, Any]]:
    """The days of a model over all its versions, whose sketches are merged."""
    query = statement("clickhouse/monitoring/daily_of_model")
    bound = {"model": model, "first": first, "last": last}
    return list(client.query(query, bound).named_results())


def record_search_quality(
    connection: postgres.Connection, client: Client, days: Sequence[date], now: datetime
) -> list[SearchQuality]:
    """Keep the quality of search on some days, from the measurements that were made until then.

    A day has the last measurement until its end of each generation that was measured or served on
    it. What was there of the day is replaced.
    """
    until = min(midnight(max(days) + DAY), now)
    kept, releases = kept_measurements(connection, until), list_releases(connection)
    rows = [row for day in days for row in _quality(day, kept, releases, now)]
    if rows:
        names = [field.name for field in fields(SearchQuality)]
        client.insert("search_quality_daily", [[*astuple(row)] for row in rows], names)
    return rows


def search_quality(client: Client, first: date, last: date) -> list[dict[str, Any]]:
    """What is kept of the quality of search on these days, the first day first."""
    query, bound = statement("clickhouse/monitoring/search_quality"), {"first": first, "last": last}
    return list(client.query(query, bound).named_results())


def unlike_their_hours(client: Client, first: date, last: date) -> list[str]:
    """The days that have other predictions than their hours, or a p95 that none of them has."""
    query, bound = statement("clickhouse/monitoring/unlike_hours"), {"first": first, "last": last}
    return [
        f"{row['day']} {row['model']}/{row['version']}: {row['predictions']:,} predictions with a"
        f" p95 of {row['p95_ms']:.1f} ms, in its hours {row['in_hours']:,}"
        f" with {row['least_ms']:.1f} to {row['most_ms']:.1f} ms"
        for row in client.query(query, bound).named_results()
    ]


def worse_searches(client: Client, first: date, last: date) -> list[str]:
    """What serves on the last day that is known, if it is worse than the best day before it."""
    served = {
        row["day"]: (row["value"], row["generation_id"])
        for row in search_quality(client, first, last)
        if row["is_served"] and (row["method"], row["metric"]) == (ANSWERS, NDCG)
    }
    if not served:
        return []
    best, (now, identity) = max(value for value, _ in served.values()), served[max(served)]
    return (
        [f"generation {identity}: {NDCG} {now:.3f}, {best:.3f} at best since {first}"]
        if best - now > MOST_LOST
        else []
    )


def _quality(
    day: date, kept: Sequence[KeptMeasurement], releases: Sequence[Release], now: datetime
) -> Iterator[SearchQuality]:
    begin = midnight(day)
    end = min(begin + DAY, now)
    served = {
        release.parts.generation_id
        for release in releases
        if release.served_from < end and (release.served_until or end) > begin
    }
    latest = {each.generation_id: each for each in kept if each.measured_at < end}
    for identity, each in sorted(latest.items()):
        if identity in served or each.measured_at >= begin:
            for method, metric, value in _values(each):
                yield SearchQuality(
                    day, identity, identity in served, method, metric, value, each.measured_at
                )


def _values(each: KeptMeasurement) -> Iterator[tuple[str, str, float]]:
    by_method: Mapping[str, Mapping[str, float]] = each.quality
    for method, metrics in by_method.items():
        for metric, value in metrics.items():
            yield method, metric, value
    for index, value in each.recall.items():
        yield index, "recall@10", value
    for metric, value in each.latency.items():
        yield ANSWERS, metric, value
