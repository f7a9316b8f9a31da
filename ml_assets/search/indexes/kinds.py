"""The kinds of index. A new one is a folder beside this file, and its name in `_FOLDERS`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from ml_assets.progress import Progress, no_progress
from ml_assets.search.indexes import ledger
from ml_assets.search.indexes.contract import AnyIndex, IndexKind, SyncReport, Upkeep
from ml_assets.search.model import Generation, Parameters
from ml_assets.settings import Settings
from ml_assets.stores import postgres

_FOLDERS = ("pgvector", "chroma", "keyword", "faiss")

KINDS: Mapping[str, IndexKind] = {
    name: import_module(f"ml_assets.search.indexes.{name}.index").KIND for name in _FOLDERS
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


def index_versions(connection: postgres.Connection, generation: Generation) -> dict[str, str]:
    """The content version of every index of a generation; PostgreSQL knows them all."""
    return {
        kind.name: upkeep_of(kind.name).version(connection, generation, kind.name)
        for kind in kinds_of(generation)
    }
