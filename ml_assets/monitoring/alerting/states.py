"""How an alert stands: a pure function of its rule, the values by time, and how it stood before.

What is missing or late neither opens nor resolves an alert: without a fresh value it stays as it
is. A condition has to hold, or not to hold, without a break for as long as the rule says, so that a
value that goes up and down is one alert. A value that comes late counts for the time that it is of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from ml_assets.monitoring.alerting.model import Alert, Point, Rule


class _Run(NamedTuple):
    """The last points that agree about the condition; `whole`: no point before them disagrees."""

    matches: bool
    since: datetime
    until: datetime
    value: float
    whole: bool


def advance(
    before: Alert | None,
    rule: Rule,
    subject: str,
    points: Sequence[Point],
    now: datetime,
    gap: timedelta,
) -> Alert | None:
    """How an alert stands now; None: its condition never held.

    Points that lie more than `gap` apart are not of one run, and one that is older tells nothing of
    the present. What lies in the future, as a clock that was set back leaves it, is left out. A run
    that fills all `points` may have begun before them: `before` remembers that.
    """
    run = _last_run(rule, points, now, gap)
    if run is None or (before is None and not run.matches):
        return before
    since = run.since
    if before is None:
        before = Alert(rule.name, subject, rule.severity, True, since, since, run.value)
    elif run.whole and before.matching == run.matches and run.since - before.until <= gap:
        since = min(since, before.since)
    after = replace(
        before,
        severity=rule.severity,
        matching=run.matches,
        since=since,
        until=run.until,
        value=run.value,
    )
    if run.until - since < rule.lasting:
        return after
    if not run.matches:
        return resolved(after, now, dismissed=False)
    if after.opened_at is None and not after.dismissed:
        return replace(after, opened_at=now, resolved_at=None)
    return after


def resolved(alert: Alert, now: datetime, *, dismissed: bool) -> Alert:
    """It is not open any more; `dismissed`: a person says so, whatever the condition is."""
    if alert.opened_at is None:
        return replace(alert, dismissed=dismissed)
    ended = max(now, alert.opened_at)  # a clock may have been set back
    return replace(alert, opened_at=None, resolved_at=ended, dismissed=dismissed)


def _last_run(rule: Rule, points: Sequence[Point], now: datetime, gap: timedelta) -> _Run | None:
    known = sorted(each for each in points if each.begin <= now and math.isfinite(each.value))
    if not known or now - known[-1].end > gap:
        return None
    *earlier, last = known
    matches, since = rule.matches(last.value), last.begin
    until = min(last.end, now)
    for point in reversed(earlier):
        if rule.matches(point.value) != matches or since - point.end > gap:
            return _Run(matches, since, until, last.value, whole=False)
        since = point.begin
    return _Run(matches, since, until, last.value, whole=True)
