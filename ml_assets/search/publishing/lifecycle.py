"""Keeping a generation current while it is served, and dropping it once retired for its time."""

from __future__ import annotations

from psycopg.errors import LockNotAvailable

from ml_assets.embeddings.refresh import forget_outdated_vectors
from ml_assets.errors import GateError
from ml_assets.releases import audit
from ml_assets.releases.gates import Gate, refuse_blocked
from ml_assets.releases.pointer import deciding_alone, expired, present_parts
from ml_assets.search.generation import find_generation, on_vectors, published_generation
from ml_assets.search.indexes.consistency import compare_with_tables
from ml_assets.search.indexes.kinds import Indexes, sync_index
from ml_assets.search.indexes.pgvector.building import be_patient
from ml_assets.search.model import Generation
from ml_assets.search.publishing.gates import same_chunks_gate
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def generations_to_sync(connection: postgres.Connection, current: Generation) -> list[Generation]:
    """The generations whose indexes follow the tables: `current`, and the served one if another.

    A generation in an older vector space holds the live chunks that have a vector there: what is
    deleted leaves it, and a text that was changed since is not in it. pgvector needs no help for
    what is deleted, as its index follows the partition; see `forget_outdated_vectors` for the rest.
    """
    served = published_generation(connection)
    if served is None or served.generation_id == current.generation_id:
        return [current]
    return [current, served]


def bring_up_to_date(
    connection: postgres.Connection, indexes: Indexes, generation: Generation
) -> Gate:
    """Make all indexes of a generation hold exactly the live chunks; return the gate of that.

    Raises:
        GateError: its space lacks vectors of live chunks, or an index differs from the tables.
    """
    text = statement("postgres/search/publishing/count_without_vector")
    counts = postgres.read_counts(connection, text, {"space_id": generation.space_id})
    if counts["lacking"]:
        raise GateError(
            f"its vector space {generation.space_id} lacks the vectors of {counts['lacking']} of"
            f" {counts['live']} live chunks",
            where=f"generation {generation.generation_id}",
            do=f"Set ML_ASSETS_EMBEDDING_MODEL to {generation.model!r} and run"
            " `ml-assets run --until documents`",
        )
    forget_outdated_vectors(connection, generation.space_id)
    with indexes.open_all(connection, generation) as opened:
        for index in opened.values():
            sync_index(connection, index)
    return compare_indexes(connection, indexes, generation)


def compare_indexes(
    connection: postgres.Connection, indexes: Indexes, generation: Generation
) -> Gate:
    """Compare all indexes of a generation whole with the tables; return the gate of that.

    Raises:
        GateError: an index differs from the tables.
    """
    with indexes.open_all(connection, generation) as opened:
        rows = compare_with_tables(connection, list(opened.values()), whole=True)
    gate = same_chunks_gate(rows)
    refuse_blocked([gate], f"generation {generation.generation_id}")
    return gate


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
