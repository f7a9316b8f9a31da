"""Delivering what is to be told: each recipient in the order of events, again until it succeeds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from ml_assets.errors import ChannelError, SettingError
from ml_assets.monitoring.alerting.model import Message
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import acquired
from ml_assets.stores.sql import statement

Send = Callable[[Message, str, Settings], None]

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
"""Between two tries; the pause doubles."""

PATIENCE = 30.0
"""Seconds after which the rest is left to the next look: who evaluates has a limit of its own."""

_LOCK = "ml_schema.alert_deliveries"


@dataclass
class Delivered:
    """How many messages arrived, and why others did not, by recipient."""

    count: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def deliver(
    connection: postgres.Connection, settings: Settings, now: datetime, send: Send
) -> Delivered:
    """Send what is due. One process does so at a time; another one finds nothing to do.

    A delivery is noted after it was sent, in a transaction of its own: what a kill interrupts is
    sent again, under the same id.
    """
    done, end = Delivered(), time.monotonic() + PATIENCE
    while time.monotonic() < end and _deliver_next(connection, settings, now, send, done):
        pass
    return done


def waiting_deliveries(connection: postgres.Connection) -> list[dict[str, Any]]:
    """What could not be delivered yet, by recipient: how much, how often tried, why not."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement("postgres/monitoring/waiting_deliveries")).fetchall()


def _deliver_next(
    connection: postgres.Connection, settings: Settings, now: datetime, send: Send, done: Delivered
) -> bool:
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        if not acquired(connection, _LOCK):
            return False
        text = statement("postgres/monitoring/due_delivery")
        row = cursor.execute(text, {"now": now}).fetchone()
        if row is None:
            return False
        identity, recipient = row.pop("delivery_id"), row.pop("recipient")
        pause = min(FIRST_PAUSE * 2 ** min(row.pop("attempts"), 20), LONGEST_PAUSE)
        message = Message(delivery_id=str(identity), text=row.pop("message"), **row)
        bound = {"delivery_id": identity, "due_at": now, "delivered_at": None, "error": ""}
        try:
            send(message, recipient, settings)
            bound["delivered_at"] = datetime.now(UTC)
            done.count += 1
        except (ChannelError, SettingError) as error:
            asked = timedelta(seconds=min(getattr(error, "pause", None) or 0.0, 86_400))
            bound |= {"error": str(error), "due_at": now + max(pause, asked)}
            done.failed[recipient] = str(error)
        connection.execute(statement("postgres/monitoring/record_delivery"), bound)
    return True
