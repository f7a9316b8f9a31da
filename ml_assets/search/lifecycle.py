"""The life of a generation: kept current while it is served, published, rolled back from."""

from __future__ import annotations

from ml_assets.search.generation import published_generation
from ml_assets.search.model import Generation
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
        statement("postgres/search/forget_outdated_vectors"),
        {"space_id": generation.space_id},
    ).rowcount
