"""The audit log of all that is served: append-only, and hash-chained by PostgreSQL itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


@dataclass(frozen=True, slots=True)
class Entry:
    """Who did what to which subject, and why; its number and time, once it is in the log."""

    actor: str
    action: str
    subject: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)
    entry_id: int | None = None
    logged_at: datetime | None = None


def append(connection: postgres.Connection, entry: Entry) -> None:
    """Add an entry; call it in the transaction of the change that it tells of."""
    connection.execute(
        "select append_audit(%s, %s, %s, %s, %s)",
        [entry.actor, entry.action, entry.subject, entry.reason, Jsonb(dict(entry.details))],
    )


def read_entries(connection: postgres.Connection, most: int) -> list[Entry]:
    """The last `most` entries, the newest last."""
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        bound = {"most": most}
        return cursor.execute(statement("postgres/releases/last_entries"), bound).fetchall()


def read_subjects(connection: postgres.Connection, prefix: str) -> list[Entry]:
    """The entries of all subjects that begin with `prefix`, the newest last."""
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        bound = {"prefix": prefix}
        return cursor.execute(statement("postgres/releases/entries_of"), bound).fetchall()


def last_entry(connection: postgres.Connection, *actions: str) -> tuple[str, dict[str, Any]] | None:
    """Subject and details of the last entry with one of `actions`."""
    bound = {"actions": list(actions)}
    row = connection.execute(statement("postgres/releases/last_entry"), bound).fetchone()
    return (str(row[0]), dict(row[1])) if row else None


def count_entries(
    connection: postgres.Connection, subject: str | None = None, action: str | None = None
) -> int:
    """The number of entries: of all, or of one subject or action."""
    bound = {"subject": subject, "action": action}
    text = statement("postgres/releases/count_entries")
    return postgres.read_counts(connection, text, bound)["entries"]


def verify(connection: postgres.Connection) -> str | None:
    """Compute the chain anew; return its first broken entry and why, or None where it is intact.

    An altered, dropped or moved entry breaks the chain at itself or at the entry after it. The last
    one is the last that was written.
    """
    row = connection.execute(statement("postgres/releases/first_broken_entry")).fetchone()
    return str(row[0]) if row else None
