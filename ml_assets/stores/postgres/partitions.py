"""Partitions of chunks and vectors: by space and chunker, and below that by ranges of time."""

from __future__ import annotations

from psycopg import sql

from ml_assets.stores.postgres.statements import Connection
from ml_assets.stores.sql import statement


def partition_name(table: str, key: str) -> str:
    """The partition of `table` that holds the rows of `key`, a space or a chunker."""
    return f"{table}_{key}"


def ensure_chunker_partition(connection: Connection, table: str, chunker: str) -> None:
    """Create the partition of a chunker, with one for all times in it; readers go on."""
    name = partition_name(table, chunker)
    if not exists(connection, name):
        text = sql.SQL(statement("postgres/partitions/add_chunker")).format(
            partition=sql.Identifier(name),
            default=sql.Identifier(f"{name}_default"),
            table=sql.Identifier(table),
            chunker=sql.Literal(chunker),
        )
        with connection.transaction():
            connection.execute(text)


def exists(connection: Connection, table: str) -> bool:
    """Whether there is a table of this name."""
    return connection.execute("select to_regclass(%s)", [table]).fetchone() != (None,)
