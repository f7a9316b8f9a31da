"""The life of a generation: kept current while it is served, published, rolled back from."""

from __future__ import annotations

from ml_assets.errors import GateError, NothingToDoError
from ml_assets.search.generation import (
    deciding,
    find_generation,
    kept_generation,
    publish,
    published_generation,
)
from ml_assets.search.indexes.consistency import compare_with_tables
from ml_assets.search.indexes.kinds import sync_index
from ml_assets.search.indexes.opening import Indexes
from ml_assets.search.model import Generation
from ml_assets.search.publishing.gates import Gate, refuse_blocked, same_chunks_gate
from ml_assets.settings import Settings
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


def forget_outdated_vectors(connection: postgres.Connection, generation: Generation) -> int:
    """Delete the vectors of texts that were changed since, so that pgvector does not find them.

    `embeddings` does so for the current space only. Returns how many there were.
    """
    return postgres.run(
        connection,
        statement("postgres/search/publishing/forget_outdated_vectors"),
        {"space_id": generation.space_id},
    ).rowcount


def rollback(
    connection: postgres.Connection, settings: Settings, reason: str, to: str | None = None
) -> Generation:
    """Serve the generation that was served before, or `to`; what is served now is withdrawn.

    It passed the gates when it was published, and is brought up to date before the pointer moves.
    A withdrawn generation is not published by a run, until a person publishes it.

    Raises:
        NothingToDoError: there is none to roll back to, or its indexes were dropped.
        GateError: it lacks vectors of live chunks, or its indexes differ from the tables.
    """
    with deciding(connection):
        return _rollback(connection, settings, reason, to)


def _rollback(
    connection: postgres.Connection, settings: Settings, reason: str, to: str | None
) -> Generation:
    served = published_generation(connection)
    if served is None:
        raise NothingToDoError("no generation is published", where="search")
    target = kept_generation(connection, to or _published_before(connection))
    if target.generation_id == served.generation_id:
        raise NothingToDoError(f"generation {to} is the published one", where="search")
    if not target.evaluation:
        raise NothingToDoError(
            f"generation {to} was never published",
            where="search",
            do="Use `ml-assets publish`",
        )
    gate = bring_up_to_date(connection, settings, target)
    publish(
        connection,
        target.generation_id,
        target.evaluation,
        settings.actor,
        reason,
        action="rollback",
        gates=[gate],
    )
    return find_generation(connection, target.generation_id)


def bring_up_to_date(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> Gate:
    """Make all indexes of a generation hold exactly the live chunks; return the gate of that.

    Raises:
        GateError: its space lacks vectors of live chunks, or an index differs from the tables.
    """
    bound = {"space_id": generation.space_id}
    counts = postgres.read_counts(
        connection, statement("postgres/search/publishing/count_without_vector"), bound
    )
    if counts["lacking"]:
        raise GateError(
            f"its vector space {generation.space_id} lacks the vectors of {counts['lacking']} of"
            f" {counts['live']} live chunks",
            where=f"generation {generation.generation_id}",
            do=f"Set ML_ASSETS_EMBEDDING_MODEL to {model_of(connection, generation)!r} and run"
            " `ml-assets run --until documents`",
        )
    forget_outdated_vectors(connection, generation)
    with Indexes(settings).open_all(connection, generation) as opened:
        indexes = list(opened.values())
        for index in indexes:
            sync_index(connection, index)
        gate = same_chunks_gate(compare_with_tables(connection, indexes, whole=True))
    refuse_blocked(generation.generation_id, [gate])
    return gate


def model_of(connection: postgres.Connection, generation: Generation) -> str:
    """The name of the model that makes the vectors of a generation's space."""
    row = connection.execute(
        "select definition ->> 'model' from embedding_spaces where space_id = %s",
        [generation.space_id],
    ).fetchone()
    return str(row[0]) if row else ""


def _published_before(connection: postgres.Connection) -> str:
    row = connection.execute(statement("postgres/search/publishing/published_before")).fetchone()
    if row is None:
        raise NothingToDoError("no other generation was published before", where="search")
    return str(row[0])
