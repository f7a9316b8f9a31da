"""The chunkers whose chunks are kept, each in a partition of its own, and which of them follow."""

from __future__ import annotations

from collections.abc import Collection

from psycopg import sql

from ml_assets.stores import postgres
from ml_assets.stores.postgres import partitions
from ml_assets.stores.sql import statement

_TABLE = "chunks"


def chunks_of(chunker: str) -> str:
    """The table that holds the chunks of one chunker."""
    return partitions.partition_name(_TABLE, chunker)


def follow_chunkers(connection: postgres.Connection, current: str, beside: Collection[str]) -> None:
    """Have the documents followed by the `current` chunker and by those `beside` it, no other."""
    followed = [current, *(chunker for chunker in beside if chunker != current)]
    bound = {"chunker": current, "chunkers": followed}
    for chunker in followed:
        partitions.ensure_chunker_partition(connection, _TABLE, chunker)
    with connection.transaction():
        for name in ("add_chunkers", "follow_chunkers", "make_current"):
            connection.execute(statement(f"postgres/documents/{name}"), bound)


def followed_chunkers(connection: postgres.Connection) -> list[str]:
    """The chunkers whose chunks follow the documents, sorted."""
    query = "select chunker from chunkers where is_followed order by chunker"
    return [chunker for (chunker,) in connection.execute(query)]


def present_chunker(connection: postgres.Connection) -> str | None:
    """The chunker that the settings of the last run describe; None before the first."""
    row = connection.execute("select chunker from chunkers where is_current").fetchone()
    return str(row[0]) if row else None


def count_followed(connection: postgres.Connection) -> int:
    """How many chunks follow the documents, of all chunkers that do."""
    text = statement("postgres/documents/count_followed")
    return postgres.read_counts(connection, text)["chunks"]


def known_chunkers(connection: postgres.Connection) -> list[str]:
    """The chunkers of which chunks are kept, sorted."""
    return [name for (name,) in connection.execute("select chunker from chunkers order by chunker")]


def drop_chunks(connection: postgres.Connection, chunker: str) -> None:
    """Drop the chunks of a chunker, with all that is known of it."""
    table = sql.Identifier(chunks_of(chunker))
    connection.execute(sql.SQL("drop table if exists {}").format(table))
    connection.execute("delete from chunkers where chunker = %s", [chunker])
