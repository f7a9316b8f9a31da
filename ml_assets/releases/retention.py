"""Retention: since when a part is served or was, and what was retired for its time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from ml_assets.releases.pointer import Part
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


@dataclass(frozen=True, slots=True)
class Service:
    """The last unbroken time in which a part was served; `served_until` None: it still is."""

    identity: str
    served_from: datetime
    served_until: datetime | None
    actor: str
    reason: str


def services(connection: postgres.Connection, part: Part) -> dict[str, Service]:
    """When each value of a part was served last, by its identity."""
    with connection.cursor(row_factory=class_row(Service)) as cursor:
        rows = cursor.execute(statement("postgres/releases/services"), {"part": part})
        return {row.identity: row for row in rows}


def expired(connection: postgres.Connection, part: Part, days: float) -> list[str]:
    """The identities that are not served, and were not for `days`; the longest retired first."""
    bound = {"part": part, "days": days}
    rows = connection.execute(statement("postgres/releases/expired"), bound)
    return [str(identity) for (identity,) in rows]
