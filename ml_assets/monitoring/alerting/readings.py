"""The readings that rules may name: what of the stores has a value now, or by time.

A reading is a function and a line of `READINGS`. It gives the points from some time on, by subject:
also those that are ordinary, or no alert would ever end. Any series of the store of metrics is one
too, by a name such as "p95 of service_latency_ms by route".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ml_assets.features.drift.results import drift_strengths
from ml_assets.monitoring.alerting.model import Point, Rule, Values
from ml_assets.monitoring.anomalies import DAY, midnight
from ml_assets.monitoring.predictions import lost_records
from ml_assets.monitoring.recording import open_metrics
from ml_assets.registry.versions import champion
from ml_assets.releases.pointer import present_parts
from ml_assets.search.evaluation.measurement import Measurement, read_measurements
from ml_assets.settings import Settings
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.metrics import Buckets, MetricStore, Query, Window, floor
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from numpy.typing import NDArray

LEAST = 20
"""Of fewer answers, mean, quantile and accuracy are not taken: chance would be told."""

_MOMENT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Records:
    """What the records of the orchestrator tell: runs that failed, and each check, if it did."""

    failed_runs: int
    failed_checks: Mapping[str, bool]


@dataclass
class Stores:
    """What is read; ClickHouse is opened once, when a rule asks for it. To be closed."""

    settings: Settings
    connection: postgres.Connection
    open_clickhouse: Callable[[], AbstractContextManager[Client]]
    open_duck: duckdb.Opener
    records: Callable[[datetime], Records]
    _opened: ExitStack = field(default_factory=ExitStack)
    _client: Client | None = None
    _metrics: MetricStore | None = None

    def __enter__(self) -> Stores:
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    @property
    def metrics(self) -> MetricStore | None:
        """The store of metrics; None, as with `clickhouse`: this home has nothing there yet."""
        if self._metrics is None:
            embedded = self.settings.metrics_kind == "clickhouse"
            client = self.clickhouse if embedded else None
            if client or not embedded:
                opened = open_metrics(self.settings, client)
                self._metrics = self._opened.enter_context(opened)
        return self._metrics

    @property
    def clickhouse(self) -> Client | None:
        """A client; None: this home has nothing there yet, and a look makes nothing."""
        if not self.settings.clickhouse_url and not (self.settings.home / "chdb").exists():
            return None
        if self._client is None:
            self._client = self._opened.enter_context(self.open_clickhouse())
        return self._client


@dataclass(frozen=True, slots=True)
class Reading:
    """How a metric is read from a time on. `span`: what a value is of; None: as a rule says."""

    read: Callable[[Stores, Rule, datetime, datetime], Values]
    span: timedelta | None = None


def read(stores: Stores, rule: Rule, now: datetime) -> Values:
    """The points that a rule is evaluated on: as far back as it has to hold, and some more.

    Raises:
        UserError: a store cannot be read.
    """
    begin = now - rule.lasting - 2 * span_of(rule)
    return _reading(rule.metric).read(stores, rule, begin, now)


def span_of(rule: Rule) -> timedelta:
    """What one value of its reading is of."""
    return _reading(rule.metric).span or rule.over


def gap_of(rule: Rule) -> timedelta:
    """How much may be missing between two values of one run: two of them."""
    return 2 * span_of(rule)


def _answers(metric: str, known: str = "predictions") -> Reading:
    """A metric of what models answered; `known`: of how many answers it is."""

    def values(stores: Stores, rule: Rule, begin: datetime, now: datetime) -> Values:
        return _points(
            (row["model"], begin_of(row), rule.over, row[metric])
            for row in _spans(stores, rule, begin, now)
            if row[known] >= LEAST
        )

    return Reading(values)


def _predictions(stores: Stores, rule: Rule, begin: datetime, now: datetime) -> Values:
    """How many there were; a span that is not over would look like a fall."""
    return _points(
        (row["model"], begin_of(row), rule.over, row["predictions"])
        for row in _spans(stores, rule, begin, now)
        if begin_of(row) + rule.over <= now
    )


def _accuracy_loss(stores: Stores, rule: Rule, begin: datetime, now: datetime) -> Values:
    """By how much the model that is served is less often right than on its test documents."""
    served = champion(stores.connection)
    if served is None:
        return {}
    return _points(
        (row["model"], begin_of(row), rule.over, served.metrics["accuracy"] - row["accuracy"])
        for row in _spans(stores, rule, begin, now, served.version)
        if row["known"] >= LEAST and row["model"] == served.name
    )


def _spans(
    stores: Stores, rule: Rule, begin: datetime, now: datetime, version: int | None = None
) -> Iterator[Mapping[str, Any]]:
    seconds = int(rule.over.total_seconds())
    bound = {
        "seconds": seconds,
        "begin": floor(begin, rule.over),
        "end": now,
        "version": version,
    }
    if client := stores.clickhouse:
        yield from client.query(
            statement("clickhouse/monitoring/answers_by_span"), bound
        ).named_results()


def begin_of(row: Mapping[str, Any]) -> datetime:
    """When the span of a row of ClickHouse begins, in UTC."""
    begin: datetime = row["begin"]
    return begin.replace(tzinfo=UTC) if begin.tzinfo is None else begin.astimezone(UTC)


def _anomalies(stores: Stores, _: Rule, begin: datetime, __: datetime) -> Values:
    """How much of a day was out of the ordinary, by model; 0 on a day on which it answered."""
    client = stores.clickhouse
    if client is None:
        return {}
    text, bound = statement("clickhouse/monitoring/anomalies_by_day"), {"first": begin.date()}
    rows = client.query(text, bound).named_results()
    return _points((row["model"], midnight(row["day"]), DAY, row["found"]) for row in rows)


def _lost(stores: Stores, _: Rule, begin: datetime, now: datetime) -> Values:
    """Records of the service that were neither loaded nor wait, by the day before which."""
    client = stores.clickhouse
    if client is None:
        return {}
    first, days = begin.date(), (now.date() - begin.date()).days
    lost = dict.fromkeys((first + number * DAY for number in range(days + 1)), 0)
    for day, count in lost_records(client, stores.settings.home, first):
        lost[day] = lost.get(day, 0) + count
    return _points(("", midnight(day), DAY, count) for day, count in lost.items())


def _drift(stores: Stores, _: Rule, begin: datetime, __: datetime) -> Values:
    """The strongest drift of what came until a day, by what it was compared with."""
    if not stores.settings.duckdb_file.exists():
        return {}
    with stores.open_duck() as duck:
        rows = drift_strengths(duck, begin.date())
    return _points((reference, midnight(day), DAY, most) for day, reference, most in rows)


def _recall(stores: Stores, _: Rule, __: datetime, now: datetime) -> Values:
    """recall@10 of the generation that is served, by index, as it was measured last."""
    measured = _measured(stores)
    recall = measured.recall if measured else {}
    return {index: [Point(now, now, value)] for index, value in recall.items()}


def _ndcg(stores: Stores, _: Rule, __: datetime, now: datetime) -> Values:
    """nDCG@10 of the hybrid search that is served, on judged queries; none without any."""
    measured = _measured(stores)
    ndcg = measured.ndcg if measured else None
    return {} if ndcg is None else {"": [Point(now, now, ndcg)]}


def _measured(stores: Stores) -> Measurement | None:
    served = present_parts(stores.connection).generation_id
    if served is None:
        return None
    measured = read_measurements(stores.connection, served)
    return measured.latest or measured.published


def _failed_runs(stores: Stores, rule: Rule, _: datetime, now: datetime) -> Values:
    """Runs that failed in the last span of time."""
    return {"": [Point(now, now, stores.records(now - rule.over).failed_runs)]}


def _failed_checks(stores: Stores, _: Rule, __: datetime, now: datetime) -> Values:
    """By check: 1 where it did not pass when it was asked last, though not as a warning."""
    failed = stores.records(now).failed_checks
    return {name: [Point(now, now, float(value))] for name, value in failed.items()}


def _points(rows: Iterator[tuple[str, datetime, timedelta, float | None]]) -> Values:
    found: dict[str, list[Point]] = {}
    for subject, begin, span, value in rows:
        if value is not None:
            found.setdefault(subject, []).append(Point(begin, begin + span, value))
    return found


READINGS: Mapping[str, Reading] = {
    "accuracy": _answers("accuracy", "known"),
    "accuracy_loss": Reading(_accuracy_loss),
    "probability": _answers("probability"),
    "p95_ms": _answers("p95_ms"),
    "predictions": Reading(_predictions),
    "anomalies": Reading(_anomalies, DAY),
    "drift": Reading(_drift, DAY),
    "predictions_lost": Reading(_lost, DAY),
    "search_recall": Reading(_recall, _MOMENT),
    "search_ndcg": Reading(_ndcg, _MOMENT),
    "runs_failed": Reading(_failed_runs),
    "checks_failed": Reading(_failed_checks, _MOMENT),
}
"""By the name that a rule has for it; those without a span of their own are `over` one."""

_SERIES = re.compile(
    r"(mean|min|max|count|p(?P<percent>\d{1,2}(\.\d{1,3})?)) of (?P<name>[A-Za-z_]\w{0,99})"
    r"(?: by (?P<by>[A-Za-z_]\w*(?:, ?[A-Za-z_]\w*)*))?",
    re.ASCII,
)
"""Of a series: what of the points of a span, the name, and the labels that subjects are told by."""


def has_span(metric: str) -> bool | None:
    """Whether the values of a reading are of a span that a rule chooses; None: there is no such."""
    if metric in READINGS:
        return READINGS[metric].span is None
    return True if _SERIES.fullmatch(metric) else None


def _reading(metric: str) -> Reading:
    return READINGS.get(metric) or Reading(_series)


def _series(stores: Stores, rule: Rule, begin: datetime, now: datetime) -> Values:
    """An aggregate of a series by span, in the store of metrics; a span without points has none."""
    store, asked = stores.metrics, _SERIES.fullmatch(rule.metric)
    if store is None or asked is None:
        return {}
    first = floor(begin, rule.over)
    # A count of what is not over would look like a fall.
    end = floor(now, rule.over) + (timedelta(0) if asked[1] == "count" else rule.over)
    by = re.split(", ?", asked["by"]) if asked["by"] else []
    quantiles = [float(asked["percent"]) / 100] if asked["percent"] else []
    query = Query(asked["name"], Window(first, end), by=by)
    found = store.aggregate(query, rule.over, quantiles)
    return _points(
        ("/".join(value for _, value in each.labels), at.replace(tzinfo=UTC), rule.over, value)
        for each in found
        for at, value in zip(each.times.tolist(), _chosen(each, asked[1]).tolist(), strict=True)
    )


def _chosen(each: Buckets, aggregate: str) -> NDArray[Any]:
    named = {"mean": each.means, "min": each.minima, "max": each.maxima, "count": each.counts}
    return named[aggregate] if aggregate in named else next(iter(each.quantiles.values()))
