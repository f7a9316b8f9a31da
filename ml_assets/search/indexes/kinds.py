"""The kinds of index, and what is done with one of any. A new kind is a folder and a name here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from ml_assets.progress import Progress, no_progress
from ml_assets.search.filters.language import NO_FILTER, Among, Condition, Filter
from ml_assets.search.filters.sql import matching_chunk_ids
from ml_assets.search.indexes import ledger
from ml_assets.search.indexes.contract import (
    AnyIndex,
    Index,
    IndexKind,
    Query,
    Ranking,
    SyncReport,
    Upkeep,
)
from ml_assets.search.model import Generation, Parameters
from ml_assets.settings import Settings
from ml_assets.stores import postgres

_FOLDERS = ("pgvector", "chroma", "keyword", "faiss")

KINDS: Mapping[str, IndexKind] = {
    name: import_module(f"ml_assets.search.indexes.{name}").KIND for name in _FOLDERS
}


def index_parameters(settings: Settings) -> Parameters:
    """The kinds that the settings choose, each with what building it depends on."""
    chosen = {name: kind.parameters(settings) for name, kind in KINDS.items()}
    return {name: parameters for name, parameters in chosen.items() if parameters is not None}


def kinds_of(generation: Generation) -> list[IndexKind]:
    """The kinds of index that a generation has."""
    return [kind for name, kind in KINDS.items() if name in generation.parameters]


def upkeep_of(kind: str) -> Upkeep:
    """How the indexes of a kind follow the tables."""
    return KINDS[kind].upkeep or ledger.UPKEEP


def sync_index(
    connection: postgres.Connection, index: AnyIndex, progress: Progress = no_progress
) -> SyncReport:
    """Make an index equal to the tables; only the difference is written."""
    return upkeep_of(index.kind).sync(connection, index, progress)


def query_index(
    connection: postgres.Connection,
    index: Index[Query],
    query: Query,
    k: int,
    condition: Condition = NO_FILTER,
) -> Ranking:
    """Rank the `k` best chunks that pass the condition.

    A condition that the index cannot express exactly is resolved to chunk ids by PostgreSQL.
    """
    filters: Filter = condition
    if condition != NO_FILTER and not index.expresses(condition):
        filters = Among(tuple(matching_chunk_ids(connection, condition)))
        if not filters.chunk_ids:
            return Ranking((), (), exhausted=True)
    return index.query(query, k, filters)


def index_versions(connection: postgres.Connection, generation: Generation) -> dict[str, str]:
    """The content version of every index of a generation; PostgreSQL knows them all."""
    return {
        kind.name: upkeep_of(kind.name).version(connection, generation, kind.name)
        for kind in kinds_of(generation)
    }
