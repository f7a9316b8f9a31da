"""The alerts in PostgreSQL: how each stands, what happened to it, and who is to be told.

What changes, the event that tells of it and the deliveries of that event are one transaction. So
whatever is killed, each event is delivered at least once, under the same id each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.rows import class_row, dict_row

from ml_assets.errors import NothingToDoError
from ml_assets.monitoring.alerting.model import Alert, Kind, Rule, Values
from ml_assets.monitoring.alerting.readings import gap_of
from ml_assets.monitoring.alerting.states import advance, resolved
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

_LOCK = "ml_schema.alerts"


@dataclass
class Changes:
    """The alerts that opened or were resolved by one look."""

    opened: list[Alert] = field(default_factory=list)
    resolved: list[Alert] = field(default_factory=list)


def read_alerts(connection: postgres.Connection) -> list[Alert]:
    """Every alert, open or not, by name."""
    with connection.cursor(row_factory=class_row(Alert)) as cursor:
        return cursor.execute(statement("postgres/monitoring/alerts")).fetchall()


def read_open(connection: postgres.Connection) -> list[Alert]:
    """The alerts that are open, those of the highest severity first."""
    order = ("critical", "warning", "info")
    opened = [alert for alert in read_alerts(connection) if alert.opened_at]
    return sorted(opened, key=lambda alert: (order.index(alert.severity), alert.name))


def read_events(
    connection: postgres.Connection, begin: datetime, end: datetime
) -> list[dict[str, Any]]:
    """What happened in a time, the earliest first: `told` of `recipients` have heard of it."""
    with connection.cursor(row_factory=dict_row) as cursor:
        bound = {"begin": begin, "end": end}
        return cursor.execute(statement("postgres/monitoring/events"), bound).fetchall()


def record(
    connection: postgres.Connection,
    rules: Sequence[Rule],
    values: Mapping[str, Values],
    actor: str,
    now: datetime,
) -> Changes:
    """Note how each alert stands by the `values` of its rule, and whom to tell, at once.

    A rule without values was not read: its alerts stay. One that is not among `rules` is gone, and
    its alerts are resolved.
    """
    changes, known_rules = Changes(), {rule.name: rule for rule in rules}
    with _alone(connection):
        before = {(alert.rule, alert.subject): alert for alert in read_alerts(connection)}
        for rule in rules:
            read = values.get(rule.name, {})
            kept = {subject for name, subject in before if name == rule.name}
            for subject in sorted(kept.union(read)):
                old, points = before.get((rule.name, subject)), read.get(subject, ())
                new = advance(old, rule, subject, points, now, gap_of(rule))
                if new is not None:
                    _write(connection, changes, old, new, rule, actor, now)
        for old in before.values():
            if old.opened_at and old.rule not in known_rules:
                gone = resolved(old, now, dismissed=False)
                _write(connection, changes, old, gone, None, actor, now, "its rule is gone")
    return changes


def silence(
    connection: postgres.Connection,
    name: str,
    lasting: timedelta,
    actor: str,
    reason: str,
    now: datetime,
) -> list[Alert]:
    """Tell nobody of open alerts for so long, and let them hold nothing back.

    Raises:
        NothingToDoError: no alert of that name is open.
    """
    with _alone(connection):
        silenced = []
        for alert in _named(connection, name):
            until = now + lasting
            text = f"silenced until {_moment(until)}: {alert.name}"
            _append(connection, "silenced", alert, text, actor, reason, now)
            silenced.append(replace(alert, silenced_until=until))
            _save(connection, silenced[-1])
    return silenced


def resolve(
    connection: postgres.Connection, name: str, actor: str, reason: str, now: datetime
) -> list[Alert]:
    """Close open alerts by hand: each opens again once its condition has ceased and come back.

    Raises:
        NothingToDoError: no alert of that name is open.
    """
    with _alone(connection):
        alerts = _named(connection, name)
        for old in alerts:
            new = resolved(old, now, dismissed=True)
            _write(connection, Changes(), old, new, None, actor, now, reason)
    return alerts


@contextmanager
def _alone(connection: postgres.Connection) -> Iterator[None]:
    """A transaction in which nobody else, of whatever process, changes alerts."""
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [_LOCK])
        yield


def _named(connection: postgres.Connection, name: str) -> list[Alert]:
    """The open alerts of a rule, or the one of a rule and a subject."""
    found = [alert for alert in read_open(connection) if name in (alert.name, alert.rule)]
    if not found:
        do = "See `ml-assets alerts list`"
        raise NothingToDoError(f"no alert {name!r:.200} is open", where="alerts", do=do)
    return found


def _write(
    connection: postgres.Connection,
    changes: Changes,
    old: Alert | None,
    new: Alert,
    rule: Rule | None,
    actor: str,
    now: datetime,
    reason: str = "",
) -> None:
    """Write what changed of an alert; without a rule nobody new is told of it."""
    was_open = old is not None and old.opened_at is not None
    if new.opened_at and not was_open:
        changes.opened.append(new)
        _append(connection, "opened", new, _opened_text(new, rule), actor, reason, now)
    if new.opened_at and rule and not new.told_at and not new.is_silenced(now):
        _deliver(connection, _last_opening(connection, new), rule.who, now)
        new = replace(new, told_at=now)
    if was_open and not new.opened_at:
        changes.resolved.append(new)
        text = f"resolved: {new.name}" + (f" ({reason})" if reason else "")
        event = _append(connection, "resolved", new, text, actor, reason, now)
        if new.told_at:  # who heard that it began hears that it ended
            _deliver(connection, event, _told(connection, new), now)
            new = replace(new, told_at=None)
    if new != old:
        _save(connection, new)


def _opened_text(alert: Alert, rule: Rule | None) -> str:
    condition = f"{rule.metric} {alert.value:.4g} is {rule.condition}" if rule else ""
    return f"{alert.severity}: {alert.name}: {condition} since {_moment(alert.since)}"


def _append(
    connection: postgres.Connection,
    kind: Kind,
    alert: Alert,
    text: str,
    actor: str,
    reason: str,
    now: datetime,
) -> int:
    bound = {
        "at": now,
        "kind": kind,
        "rule": alert.rule,
        "subject": alert.subject,
        "severity": alert.severity,
        "value": alert.value,
        "message": text,
        "actor": actor,
        "reason": reason,
    }
    return _number(connection, "append_event", bound)


def _last_opening(connection: postgres.Connection, alert: Alert) -> int:
    bound = {"rule": alert.rule, "subject": alert.subject}
    return _number(connection, "last_opening", bound)


def _told(connection: postgres.Connection, alert: Alert) -> list[str]:
    bound = {"event_id": _last_opening(connection, alert)}
    rows = connection.execute(statement("postgres/monitoring/told_recipients"), bound)
    return [recipient for (recipient,) in rows]


def _deliver(
    connection: postgres.Connection, event: int, who: Sequence[str], now: datetime
) -> None:
    for recipient in who:
        bound = {"event_id": event, "recipient": recipient, "due_at": now}
        connection.execute(statement("postgres/monitoring/add_delivery"), bound)


def _save(connection: postgres.Connection, alert: Alert) -> None:
    connection.execute(statement("postgres/monitoring/write_alert"), asdict(alert))


def _number(connection: postgres.Connection, name: str, bound: Mapping[str, Any]) -> int:
    row = connection.execute(statement(f"postgres/monitoring/{name}"), bound).fetchone()
    return int(row[0]) if row else 0


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
