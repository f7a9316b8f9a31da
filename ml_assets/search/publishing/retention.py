"""Dropping what a retired generation holds, whole, once it was kept for its time."""

from __future__ import annotations

from psycopg import sql
from psycopg.errors import LockNotAvailable

from ml_assets.embeddings.refresh import partition_name
from ml_assets.releases.audit import append_audit
from ml_assets.search.generation import deciding, find_generation
from ml_assets.search.indexes.opening import Indexes
from ml_assets.search.indexes.pgvector.building import be_patient
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def expired_generations(
    connection: postgres.Connection, described: str, days: float
) -> list[Generation]:
    """Retired generations that were kept for `days`, but for the one the settings describe."""
    rows = postgres.run(
        connection,
        statement("postgres/search/publishing/expired_generations"),
        {"days": days},
    ).fetchall()
    return [find_generation(connection, identity) for (identity,) in rows if identity != described]


def drop_expired(
    connection: postgres.Connection, settings: Settings, described: Generation
) -> tuple[list[str], list[str]]:
    """Drop the indexes of every expired generation; its row and its audit entries stay.

    Returns the ids of those that were dropped, and of those that a reader is still busy with: they
    are left to the next run. So is what a killed run began, as every step can be repeated: the
    stores outside PostgreSQL come first, and one transaction with the state ends it.
    """
    days = settings.keep_generations_days
    dropped: list[str] = []
    waiting: list[str] = []
    if not expired_generations(connection, described.generation_id, days):
        return dropped, waiting
    with deciding(connection):
        for generation in expired_generations(connection, described.generation_id, days):
            done = _drop(connection, settings, generation, described)
            (dropped if done else waiting).append(generation.generation_id)
    return dropped, waiting


def _drop(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    described: Generation,
) -> bool:
    """Drop its indexes, its vectors if it is the last to use them, and its state."""
    bound = {"generation_id": generation.generation_id, "space_id": generation.space_id}
    others = _others_in_space(connection, bound)
    with Indexes(settings).open_all(connection, generation) as opened:
        if not all(index.drop((*others, described)) for index in opened.values()):
            return False
    try:
        _forget(connection, settings, generation, described, vectors=not others)
    except LockNotAvailable:
        return False
    return True


def _forget(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    described: Generation,
    *,
    vectors: bool,
) -> None:
    """Drop the vectors, unless another generation uses them; then ledger, marks, and state."""
    identity = generation.generation_id
    vectors = vectors and described.space_id != generation.space_id
    with connection.transaction():
        be_patient(connection)
        if vectors and not _is_released(connection, generation.space_id):
            table = sql.Identifier(partition_name(generation.space_id))
            connection.execute(sql.SQL("drop table if exists {}").format(table))
        for table_name in ("search_index_entries", "search_index_marks"):
            connection.execute(
                sql.SQL("delete from {} where generation_id = %s").format(
                    sql.Identifier(table_name)
                ),
                [identity],
            )
        connection.execute(
            "update search_generations set state = 'dropped' where generation_id = %s", [identity]
        )
        append_audit(
            connection,
            actor=settings.actor,
            action="drop",
            subject=f"search_generation:{identity}",
            reason=f"retired for {settings.keep_generations_days:g} days",
            details={"space_id": generation.space_id, "vectors_dropped": vectors},
        )


def _others_in_space(connection: postgres.Connection, bound: dict[str, str]) -> list[Generation]:
    """The other generations of its space that have indexes."""
    rows = postgres.run(
        connection, statement("postgres/search/publishing/generations_of_space"), bound
    ).fetchall()
    return [find_generation(connection, identity) for (identity,) in rows]


def _is_released(connection: postgres.Connection, space_id: str) -> bool:
    """Whether the champion reads vectors of this space."""
    row = connection.execute(
        "select 1 from releases where active and space_id = %s", [space_id]
    ).fetchone()
    return row is not None
