"""Dropping what a retired generation holds, whole, once it was kept for its time."""

from __future__ import annotations

import shutil

from psycopg import sql
from psycopg.errors import LockNotAvailable

from ml_assets.embeddings.refresh import partition_name
from ml_assets.releases import audit
from ml_assets.releases.pointer import deciding_alone, present_parts
from ml_assets.releases.retention import expired
from ml_assets.search.generation import find_generation
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.pgvector.building import be_patient
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import Generation
from ml_assets.settings import Settings, secret
from ml_assets.stores import chroma, postgres
from ml_assets.stores.sql import statement


def expired_generations(
    connection: postgres.Connection, described: str, days: float
) -> list[Generation]:
    """Retired generations that were kept for `days`, but for the one the settings describe."""
    identities = expired(connection, "generation_id", days)
    rows = postgres.run(
        connection,
        statement("postgres/search/publishing/kept_of"),
        {"generation_ids": identities},
    )
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
    with deciding_alone(connection):
        for generation in expired_generations(connection, described.generation_id, days):
            _drop_outside(settings, generation)
            try:
                _drop_inside(connection, settings, generation, described)
            except LockNotAvailable:
                waiting.append(generation.generation_id)
            else:
                dropped.append(generation.generation_id)
    return dropped, waiting


def _drop_outside(settings: Settings, generation: Generation) -> None:
    with chroma.connect(secret(settings.chroma_url), settings.home) as client:
        ChromaIndex(client, generation).drop()
    shutil.rmtree(KeywordIndex(settings.keyword_folder, generation).path, ignore_errors=True)
    shutil.rmtree(settings.faiss_folder / generation.generation_id, ignore_errors=True)


def _drop_inside(
    connection: postgres.Connection,
    settings: Settings,
    generation: Generation,
    described: Generation,
) -> None:
    """The HNSW index and the vectors, unless another generation uses them; ledger, marks, state."""
    identity = generation.generation_id
    with connection.transaction():
        be_patient(connection)
        bound = {"generation_id": identity, "space_id": generation.space_id}
        kept = _others_in_space(connection, bound)
        # The vectors of a space also serve the model that reads them.
        read = {described.space_id, present_parts(connection).model_space_id}
        vectors = not kept and generation.space_id not in read
        if vectors:
            table = sql.Identifier(partition_name(generation.space_id))
            connection.execute(sql.SQL("drop table if exists {}").format(table))
        else:
            name = PgvectorIndex(connection, generation).name
            if name not in {PgvectorIndex(connection, other).name for other in (*kept, described)}:
                names = [sql.Identifier(each) for each in (name, f"{name}_next")]
                connection.execute(
                    sql.SQL("drop index if exists {}").format(sql.SQL(", ").join(names))
                )
        for table_name in ("search_index_entries", "search_index_marks"):
            connection.execute(
                sql.SQL("delete from {} where generation_id = %s").format(
                    sql.Identifier(table_name)
                ),
                [identity],
            )
        connection.execute(
            "update search_generations set dropped_at = now() where generation_id = %s", [identity]
        )
        audit.append(
            connection,
            audit.Entry(
                settings.actor,
                "drop",
                f"search_generation:{identity}",
                f"retired for {settings.keep_generations_days:g} days",
                {"space_id": generation.space_id, "vectors_dropped": vectors},
            ),
        )


def _others_in_space(connection: postgres.Connection, bound: dict[str, str]) -> list[Generation]:
    """The other generations of its space that have indexes."""
    rows = postgres.run(
        connection, statement("postgres/search/publishing/generations_of_space"), bound
    ).fetchall()
    return [find_generation(connection, identity) for (identity,) in rows]
