"""The kind `pgvector` of the registry; its library is imported when an index is opened."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from typing import Any

from ml_assets.search.generation import on_vectors, vectors_of
from ml_assets.search.indexes.contract import AnyIndex, IndexKind, Upkeep
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def _parameters(settings: Settings) -> Mapping[str, Any]:
    hnsw = {
        "m": settings.hnsw_m,
        "ef_construction": settings.hnsw_ef_construction,
        "ef_search": settings.hnsw_ef_search,
    }
    index = settings.pgvector_index
    kind = "bit" if index == "binary" else settings.pgvector_type
    return {"index": index, "type": kind, **({} if index == "ivfflat" else hnsw)}


def _open(
    settings: Settings, connection: postgres.Connection, generation: Generation
) -> AbstractContextManager[AnyIndex]:
    from ml_assets.search.indexes.pgvector.index import PgvectorIndex

    return closing(PgvectorIndex(connection, generation, build_memory=settings.build_memory))


def partition_version(connection: postgres.Connection, generation: Generation, kind: str) -> str:
    """A hash over the vectors of the partition, which the index follows."""
    query = on_vectors(generation, statement("postgres/search/pgvector/partition_version"))
    [(version,)] = connection.execute(query)
    return str(version)


def _dead_tuples(
    connection: postgres.Connection, generation: Generation, kind: str
) -> tuple[int, int]:
    """The dead tuples of the partition that no vacuum has removed yet, and its rows."""
    query = on_vectors(generation, statement("postgres/search/pgvector/dead_tuples"))
    counts = postgres.read_counts(connection, query, {"table": vectors_of(generation)})
    return counts["dead"], counts["live"]


KIND = IndexKind(
    "pgvector",
    description="The index on the vectors of the generation; PostgreSQL keeps it current once"
    " built.",
    technology="postgres",
    answers="vector",
    parameters=_parameters,
    open=_open,
    is_graph=True,
    upkeep=Upkeep(lambda _, index, progress: index.sync(progress), partition_version, _dead_tuples),
)
