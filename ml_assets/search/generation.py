"""Generations: sets of indexes, by their vector space, their chunker and their parameters."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import LiteralString

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ml_assets.documents.chunkers import chunks_of
from ml_assets.documents.chunking import Chunker
from ml_assets.embeddings.refresh import partition_name
from ml_assets.errors import NothingToDoError, SpaceMismatchError
from ml_assets.releases.pointer import present_parts, services
from ml_assets.search.model import Fusion, Generation, Parameters
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def generation_id(space_id: str, parameters: Parameters) -> str:
    """16 hex digits over the vector space, the chunker, the index kinds and their parameters."""
    definition = json.dumps([space_id, parameters], sort_keys=True)
    return hashlib.sha256(definition.encode()).hexdigest()[:16]


def ensure_generation(
    connection: postgres.Connection, space_id: str, parameters: Parameters
) -> Generation:
    """Find the generation of this space and these `generation_parameters`, or create it."""
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


def kept_generations(connection: postgres.Connection) -> list[Generation]:
    """All generations that have their indexes, or are being built, the oldest first."""
    query = (
        "select generation_id from search_generations where dropped_at is null order by created_at"
    )
    found = connection.execute(query).fetchall()
    return [find_generation(connection, identity) for (identity,) in found]


def vectors_of(generation: Generation) -> str:
    """The table that holds the vectors of a generation, one for each of its chunks."""
    return partition_name(generation.space_id, generation.chunker)


def tables_of(generation: Generation) -> dict[str, sql.Identifier]:
    """The tables of a generation, as statements name them: `{partition}` holds its vectors."""
    return {
        "partition": sql.Identifier(vectors_of(generation)),
        "chunks": sql.Identifier(chunks_of(generation.chunker)),
    }


def on_vectors(generation: Generation, text: str, **parts: str) -> sql.SQL:
    """The statement on the tables of a generation, with the other parts that it has, in SQL."""
    tables = (vectors_of(generation), chunks_of(generation.chunker))
    return _on_tables(text, *tables, **parts)


@lru_cache(maxsize=256)
def _on_tables(text: LiteralString, partition: str, chunks: str, **parts: LiteralString) -> sql.SQL:
    """Kept, because composing one takes as long as many a statement itself."""
    tables = {"partition": sql.Identifier(partition), "chunks": sql.Identifier(chunks)}
    written = {name: sql.SQL(part) for name, part in parts.items()}
    return sql.SQL(sql.SQL(text).format(**tables, **written).as_string())


def count_vectors(connection: postgres.Connection, generation: Generation, document_id: str) -> int:
    """How many vectors a generation that has its indexes has of a document."""
    query = on_vectors(generation, statement("postgres/search/generation/count_vectors"))
    ((count,),) = connection.execute(query, {"document_id": document_id}).fetchall()
    return int(count)


def chunkers_beside(
    connection: postgres.Connection, current: Chunker, space_id: str
) -> list[Chunker]:
    """The chunkers of what is served, or was and is kept, that go on following the documents.

    Beside the `current` one, those for the same model in the same space: what another model reads,
    or another version of the code cut, cannot be made here.
    """
    served = list(services(connection, "generation_id"))
    bound = {"space_id": space_id, "generation_ids": served}
    rows = connection.execute(statement("postgres/search/generation/chunkings"), bound)
    others = [other for (other,) in rows if other["chunker"] != current.fingerprint]
    return [made for other in others if (made := current.made_again(other))]


def published_generation(connection: postgres.Connection) -> Generation | None:
    """Return the generation that is served, or None before the first was published."""
    identity = present_parts(connection).generation_id
    return find_generation(connection, identity) if identity else None
