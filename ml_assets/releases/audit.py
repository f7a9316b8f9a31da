"""The audit log of all that is governed: append-only, and hash-chained by PostgreSQL itself."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from ml_assets.releases.rights import refuse_forbidden
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


@dataclass(frozen=True, slots=True)
class Entry:
    """Who did what to which subject, and why; its number, time and origin, once it is in the log.

    `address`: of whom it was done for, if not at the host that writes it; in the log the host with
    the address and the login that PostgreSQL saw, None before these were kept.
    """

    actor: str
    action: str
    subject: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)
    entry_id: int | None = None
    logged_at: datetime | None = None
    address: str | None = None


def append(connection: postgres.Connection, entry: Entry) -> None:
    """Add an entry; call it in the transaction of the change that it tells of.

    Raises:
        RoleError: the actor may not do that, and forgot to `authorize` before.
    """
    refuse_forbidden(connection, entry.actor, entry.action)
    details, origin = Jsonb(dict(entry.details)), entry.address or socket.gethostname()
    connection.execute(
        "select append_audit(%s, %s, %s, %s, %s, %s)",
        [entry.actor, entry.action, entry.subject, entry.reason, details, origin],
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


def export(connection: postgres.Connection) -> Iterator[str]:
    """Every entry as a line of JSON with its hashes in hex, the oldest first; a batch at a time."""
    query = statement("postgres/releases/all_entries")
    for batch in postgres.read_batches(connection, query):
        for (row,) in batch:
            yield json.dumps(row, ensure_ascii=False)


def exists(connection: postgres.Connection) -> bool:
    """Whether the log is there at all."""
    row = connection.execute("select to_regclass('ml_schema.model_audit_logs')").fetchone()
    return row != (None,)


def verify(connection: postgres.Connection, since: int = 0) -> str | None:
    """Compute the chain anew; return its first broken entry and why, or None where it is intact.

    An altered, dropped or moved entry breaks the chain at itself or at the entry after it. The last
    one is the last that was written. With `since` only from that entry on.
    """
    if not exists(connection):
        return "1: all entries are missing: the table is gone"
    text = statement("postgres/releases/first_broken_entry")
    row = connection.execute(text, {"since": since}).fetchone()
    return str(row[0]) if row else None
