"""Generations: sets of indexes, by their vector space and their parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ml_assets.errors import NothingToDoError, SpaceMismatchError
from ml_assets.releases.pointer import present_parts
from ml_assets.search.model import Fusion, Generation, Parameters
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

ANALYZER = "simple, at most 40 characters, lowercase, English stems"
TITLE_BOOST = 1.0
TIE_BREAKER = 0.1
"""A term counts by its better field, plus this part of the other; both were chosen on the tuning
halves of `python_docs` and SciFact."""


def index_parameters(settings: Settings) -> Parameters:
    """What building the indexes depends on; another value makes another generation."""
    hnsw = {
        "m": settings.hnsw_m,
        "ef_construction": settings.hnsw_ef_construction,
        "ef_search": settings.hnsw_ef_search,
    }
    return {
        "pgvector": _pgvector_parameters(settings, hnsw),
        "chroma": {"index": "hnsw", "distance": "cosine", "layout": 2, **hnsw},
        "keyword": {
            "analyzer": ANALYZER,
            "title_boost": TITLE_BOOST,
            "tie_breaker": TIE_BREAKER,
            "layout": 2,
        },
        **_faiss_parameters(settings),
    }


def _pgvector_parameters(settings: Settings, hnsw: Mapping[str, int]) -> dict[str, Any]:
    match settings.pgvector_index:
        case "hnsw":
            return {"index": "hnsw", "type": settings.pgvector_type, **hnsw}
        case "binary":
            return {"index": "binary", "type": "bit", **hnsw}
        case "ivfflat":
            return {"index": "ivfflat", "type": settings.pgvector_type}


def _faiss_parameters(settings: Settings) -> dict[str, Any]:
    if not settings.uses_faiss:
        return {}
    return {"faiss": {"index": settings.vector_index.removeprefix("faiss-"), "layout": 1}}


def generation_id(space_id: str, parameters: Parameters) -> str:
    """16 hex digits over the vector space, the index kinds and their parameters."""
    definition = json.dumps([space_id, parameters], sort_keys=True)
    return hashlib.sha256(definition.encode()).hexdigest()[:16]


def ensure_generation(
    connection: postgres.Connection, space_id: str, parameters: Parameters
) -> Generation:
    """Find the generation of this space and these parameters, or create it.

    Raises:
        SpaceMismatchError: nothing was ever embedded in this space.
    """
    identity = generation_id(space_id, parameters)
    if not connection.execute(
        "select 1 from embedding_spaces where space_id = %s", [space_id]
    ).fetchone():
        raise SpaceMismatchError(
            f"there is no vector space {space_id}",
            where="embedding_spaces",
            do="Materialize `embeddings` first",
        )
    postgres.run(
        connection,
        statement("postgres/search/generation/register_generation"),
        {"generation_id": identity, "space_id": space_id, "parameters": Jsonb(parameters)},
    )
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


def published_generation(connection: postgres.Connection) -> Generation | None:
    """Return the generation that is served, or None before the first was published."""
    identity = present_parts(connection).generation_id
    return find_generation(connection, identity) if identity else None
