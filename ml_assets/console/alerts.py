"""Alerts and their rules, as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from ml_assets.console.layout import printable, table

if TYPE_CHECKING:
    from ml_assets.monitoring.alerting.model import Alert, Rule


def alerts(
    opened: Sequence[Alert], waiting: Sequence[Mapping[str, Any]], now: datetime
) -> RenderableType:
    """The open alerts, and the recipients who could not be told yet."""
    parts: list[RenderableType] = [Text("No alert is open.")]
    if opened:
        rows = [
            {
                "severity": alert.severity,
                "alert": alert.name,
                "value": alert.value,
                "since": alert.since,
                "opened": alert.opened_at,
                "silenced until": alert.silenced_until if alert.is_silenced(now) else None,
            }
            for alert in opened
        ]
        parts = [table("Open alerts", rows)]
    for row in waiting:
        count, who = f"{row['waiting']:,}", printable(row["recipient"])
        parts.append(Text(f"{count} messages wait for {who}: {printable(row['error'])}"))
    return Group(*parts)


def rules(rows: Sequence[Rule]) -> RenderableType:
    """The rules, in the order of their file."""
    if not rows:
        return Text("There is no rule.")
    shown = [
        {
            "rule": rule.name,
            "condition": f"{rule.metric} {rule.condition}",
            "for": str(rule.lasting),
            "severity": rule.severity,
            "who": ", ".join(rule.who),
        }
        for rule in rows
    ]
    return table("Rules of alerts", shown)
