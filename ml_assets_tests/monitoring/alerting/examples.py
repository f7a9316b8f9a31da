"""Rules, points and messages that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ml_assets.monitoring.alerting.ledger import record
from ml_assets.monitoring.alerting.model import Message, Point, Rule
from ml_assets.stores import postgres

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

RULE = Rule(
    name="model_is_slow",
    metric="p95_ms",
    operator=">",
    limit=500.0,
    over=5 * MINUTE,
    lasting=timedelta(),
    severity="warning",
    who=("log",),
)
MESSAGE = Message(
    delivery_id="3c0e2f0e-8a27-4f5e-9c0d-0d8f7f6f0a11",
    kind="opened",
    rule="model_is_slow",
    subject="classifier",
    severity="critical",
    at=NOW,
    value=731.5,
    text="critical: model_is_slow/classifier: p95_ms 731.5 is > 500 since 2026-03-05 12:00 UTC",
)


def rule(**changed: object) -> Rule:
    return replace(RULE, **changed)  # type: ignore[arg-type]


def at(minute: float, value: float) -> Point:
    """A value of a moment, so many minutes after `NOW`."""
    moment = NOW + minute * MINUTE
    return Point(moment, moment, value)


def span(minute: float, value: float, minutes: float = 5) -> Point:
    """A value of five minutes, which begin so many minutes after `NOW`."""
    begin = NOW + minute * MINUTE
    return Point(begin, begin + minutes * MINUTE, value)


@contextmanager
def critical_alert(connection: postgres.Connection) -> Iterator[None]:
    """A deployment with an open critical alert, `model_lost_accuracy/a`; afterwards without."""
    asked = rule(name="model_lost_accuracy", severity="critical")
    record(connection, [asked], {asked.name: {"a": [at(0, 900.0)]}}, "tester", NOW)
    try:
        yield
    finally:
        connection.execute("delete from alerts")
