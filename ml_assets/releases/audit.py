"""Writing to the audit log, which is append-only and hash-chained by PostgreSQL itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from ml_assets.stores import postgres


def append_audit(
    connection: postgres.Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    reason: str,
    details: Mapping[str, Any],
) -> None:
    """Add an entry; call it in the transaction of the change that it tells of."""
    connection.execute(
        "select append_audit(%s, %s, %s, %s, %s)",
        [actor, action, subject, reason, Jsonb(dict(details))],
    )
