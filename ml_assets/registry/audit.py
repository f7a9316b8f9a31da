"""Reading the audit log: who did what to which model version, and why; and whether it is intact."""

from __future__ import annotations

from typing import Any

from ml_assets.registry.model import BrokenEntry, ModelVersion
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def last_entry(connection: postgres.Connection, *actions: str) -> tuple[str, dict[str, Any]] | None:
    """Subject and details of the last entry with one of `actions`."""
    bound = {"actions": list(actions)}
    row = postgres.run(connection, statement("postgres/releases/last_entry"), bound).fetchone()
    return (str(row[0]), dict(row[1])) if row else None


def verify_audit(connection: postgres.Connection) -> BrokenEntry | None:
    """Compute the chain anew; return its first broken entry, or None where it is intact.

    An altered, dropped or moved entry breaks the chain at itself or at the entry after it. That the
    last entries are missing cannot be seen from the log alone.
    """
    row = connection.execute(statement("postgres/releases/first_broken_entry")).fetchone()
    if row is None:
        return None
    entry_id, linked, _ = row
    what = "its content was altered" if linked else "the entry before it is missing or altered"
    return BrokenEntry(entry_id, what)


def count_entries(connection: postgres.Connection, promoted: ModelVersion | None = None) -> int:
    """How many entries there are; with `promoted`, how many promoted that version."""
    subject = f"{promoted.name}/{promoted.version}" if promoted else None
    row = connection.execute(
        "select count(*) from model_audit_logs"
        " where %(subject)s::text is null or (subject = %(subject)s and action = 'promote')",
        {"subject": subject},
    ).fetchone()
    return int(row[0]) if row else 0
