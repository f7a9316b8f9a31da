"""Keeping a generation current while it is served, and before it is served again."""

from __future__ import annotations

from ml_assets.embeddings.refresh import forget_outdated_vectors
from ml_assets.errors import GateError
from ml_assets.releases.gates import Gate, refuse_blocked
from ml_assets.releases.pointer import Parts
from ml_assets.search.generation import kept_generation, published_generation
from ml_assets.search.indexes.consistency import compare_with_tables
from ml_assets.search.indexes.kinds import sync_index
from ml_assets.search.indexes.opening import Indexes
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


def ready_for_rollback(
    connection: postgres.Connection, indexes: Indexes, target: Parts, present: Parts
) -> list[Gate]:
    """Make the search of a release ready to be served again; no gate where it is served now.

    Raises:
        NothingToDoError: the indexes of its generation were dropped.
        GateError: its space lacks vectors of live chunks, or an index differs from the tables.
    """
    identity = target.generation_id
    if identity is None or identity == present.generation_id:
        return []
    return [bring_up_to_date(connection, indexes, kept_generation(connection, identity))]
