"""What holds back all that would be published or promoted: critical alerts that are open."""

from __future__ import annotations

from collections.abc import Sequence

from ml_assets.releases.gates import Gate
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

HOLDS = "no_critical_alert_is_open"
"""The name of the gate and of its checks."""


def holding_alerts(connection: postgres.Connection) -> tuple[str, ...]:
    """The names of the critical alerts that are open and not silenced."""
    rows = connection.execute(statement("postgres/releases/holding_alerts"))
    return tuple(name for (name,) in rows)


def alerts_gate(alerts: Sequence[str]) -> Gate:
    """No critical alert is open: what is served now is not well, and one change at a time is."""
    numbers = {"open_critical_alerts": len(alerts)}
    if not alerts:
        return Gate(HOLDS, "pass", "no critical alert is open", numbers)
    more = f" and {len(alerts) - 3} more" if len(alerts) > 3 else ""
    message = f"{', '.join(alerts[:3])}{more} is open"
    do = (
        f"Mend it, or go on with `ml-assets alerts silence {alerts[0]} --for 2h --reason …`, or"
        f" `ml-assets alerts resolve {alerts[0]} --reason …`"
    )
    return Gate(HOLDS, "block", message, numbers, do)
