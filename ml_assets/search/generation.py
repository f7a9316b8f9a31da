"""Generations: sets of indexes, by their vector space and their parameters."""

from __future__ import annotations

import hashlib
import json

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ml_assets.embeddings.refresh import partition_name
from ml_assets.errors import NothingToDoError, SpaceMismatchError
from ml_assets.releases.pointer import present_parts
from ml_assets.search.model import Fusion, Generation, Parameters
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def generation_id(space_id: str, parameters: Parameters) -> str:
    """16 hex digits over the vector space, the index kinds and their parameters."""
    definition = json.dumps([space_id, parameters], sort_keys=True)
    return hashlib.sha256(definition.encode()).hexdigest()[:16]


def ensure_generation(
    connection: postgres.Connection, space_id: str, parameters: Parameters
) -> Generation:
    """Find the generation of this space and these parameters, or create it."""
    identity = generation_id(space_id, parameters)
    if not connection.execute(
        "select 1 from embedding_spaces where space_id = %s", [space_id]
    ).fetchone():
        raise SpaceMismatchError(
            f"there is no vector space {space_id}",
            where="embedding_spaces",
            do="Materialize `embeddings` first",
        )
    text = statement("postgres/search/generation/register_generation")
    bound = {"generation_id": identity, "space_id": space_id, "parameters": Jsonb(parameters)}
    connection.execute(text, bound)
    return find_generation(connection, identity)


def find_generation(connection: postgres.Connection, identity: str) -> Generation:
    """Return a generation by its id.

    Raises:
        NothingToDoError: there is none of this id.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        text = statement("postgres/search/generation/find_generation")
        row = cursor.execute(text, {"generation_id": identity}).fetchone()
    if row is None:
        raise NothingToDoError(
            f"there is no search generation {identity}",
            where="search",
            do="See `ml-assets search-generations`",
        )
    return Generation(**{**row, "fusion": Fusion(**row["fusion"])})


def kept_generation(connection: postgres.Connection, identity: str) -> Generation:
    """Return a generation that has its indexes.

    Raises:
        NothingToDoError: there is none of this id, or its indexes were dropped.
    """
    generation = find_generation(connection, identity)
    if generation.dropped:
        raise NothingToDoError(
            f"the indexes of generation {identity} were dropped",
            where="search",
            do="Set the settings that describe it, and run `ml-assets run`",
        )
    return generation


def on_vectors(generation: Generation, text: str) -> sql.Composed:
    """The statement, with the table that holds the generation's vectors as its `{partition}`."""
    return sql.SQL(text).format(partition=sql.Identifier(partition_name(generation.space_id)))


def published_generation(connection: postgres.Connection) -> Generation | None:
    """Return the generation that is served, or None before the first was published."""
    identity = present_parts(connection).generation_id
    return find_generation(connection, identity) if identity else None
