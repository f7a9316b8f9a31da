"""Dropping what a retired generation holds, whole, once it was kept for its time."""

from __future__ import annotations

from psycopg.errors import LockNotAvailable

from ml_assets.releases import audit
from ml_assets.releases.pointer import deciding_alone, expired, present_parts
from ml_assets.search.generation import find_generation, on_vectors
from ml_assets.search.indexes.opening import Indexes
from ml_assets.search.indexes.pgvector.building import be_patient
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def expired_generations(
    connection: postgres.Connection, described: str, days: float
) -> list[Generation]:
    """Retired generations that were kept for `days`, but for the one the settings describe."""
    identities = expired(connection, "generation_id", days)
    text = statement("postgres/search/publishing/kept_of")
    rows = connection.execute(text, {"generation_ids": identities})
    return [find_generation(connection, identity) for (identity,) in rows if identity != described]


def drop_expired(
    connection: postgres.Connection, indexes: Indexes, described: Generation
) -> tuple[list[str], list[str]]:
    """Drop the indexes of every expired generation; its row and its audit entries stay.

    Returns the ids of those that were dropped, and of those that a reader is still busy with: they
    are left to the next run. So is what a killed run began, as every step can be repeated: the
    stores outside PostgreSQL come first, and one transaction with the state ends it.
    """
    days = indexes.settings.keep_generations_days
    dropped: list[str] = []
    waiting: list[str] = []
    if not expired_generations(connection, described.generation_id, days):
        return dropped, waiting
    with deciding_alone(connection):
        for generation in expired_generations(connection, described.generation_id, days):
            done = _drop(connection, indexes, generation, described)
            (dropped if done else waiting).append(generation.generation_id)
    return dropped, waiting


def _drop(
    connection: postgres.Connection, indexes: Indexes, generation: Generation, described: Generation
) -> bool:
    """Drop its indexes, with the ledger and the marks, and vectors that nothing else uses."""
    bound = {"generation_id": generation.generation_id, "space_id": generation.space_id}
    text = statement("postgres/search/publishing/generations_of_space")
    others = [find_generation(connection, name) for (name,) in connection.execute(text, bound)]
    with indexes.open_all(connection, generation) as opened:
        if not all(index.drop((*others, described)) for index in opened.values()):
            return False
    # The vectors of a space also serve the model that reads them.
    read = {described.space_id, present_parts(connection).model_space_id}
    unused = not others and generation.space_id not in read
    reason = f"retired for {indexes.settings.keep_generations_days:g} days"
    details = {"space_id": generation.space_id, "vectors_dropped": unused}
    subject = f"search_generation:{generation.generation_id}"
    try:
        with connection.transaction():
            be_patient(connection)
            if unused:
                connection.execute(on_vectors(generation, "drop table if exists {partition}"))
            connection.execute(statement("postgres/search/publishing/forget_generation"), bound)
            entry = audit.Entry(indexes.settings.actor, "drop", subject, reason, details)
            audit.append(connection, entry)
    except LockNotAvailable:
        return False
    return True
