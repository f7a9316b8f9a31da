"""Indexes on the metadata of documents, by which a filter finds those that pass."""

from __future__ import annotations

import hashlib

from psycopg import sql

from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

MOST_KEYS = 16
"""Keys with numbers that get an index of their own; each costs every write of a document."""


def index_metadata(connection: postgres.Connection) -> None:
    """Create what is absent: one index for equal values, one of order for each key with numbers.

    These are the keys that most live documents have a number under. Repeatable.
    """
    connection.execute(statement("postgres/documents/index_values"))
    keys = connection.execute(statement("postgres/documents/number_keys"), {"most": MOST_KEYS})
    for (key,) in keys.fetchall():
        name = f"documents_number_{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        create = sql.SQL(statement("postgres/documents/index_numbers"))
        connection.execute(create.format(index=sql.Identifier(name), key=sql.Literal(key)))
