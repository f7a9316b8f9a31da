"""The indexes of ml_assets, through the contract that search uses, each in its own generation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from bench.search.contenders.protocol import Ask, Job
from bench.search.tables import PART, parameters_of
from ml_assets.embeddings.space import current_space
from ml_assets.search.filters.language import NO_FILTER, Compare, Condition
from ml_assets.search.generation import ensure_generation
from ml_assets.search.indexes.contract import VectorIndex
from ml_assets.search.indexes.kinds import KINDS, index_parameters, query_index, sync_index
from ml_assets.settings import load_settings
from ml_assets.stores import postgres

SETTINGS: dict[str, dict[str, Any]] = {
    "pgvector_hnsw_halfvec": {},
    "pgvector_hnsw_16_64": {"hnsw_m": 16, "hnsw_ef_construction": 64},
    "pgvector_hnsw_vector": {"pgvector_type": "vector"},
    "pgvector_ivfflat": {"pgvector_index": "ivfflat"},
    "pgvector_binary": {"pgvector_index": "binary"},
    "chroma": {"vector_index": "chroma"},
    "faiss_flat": {"vector_index": "faiss-flat"},
    "faiss_ivfpq": {"vector_index": "faiss-ivfpq"},
}
"""What makes each the index of a generation; all else is as it is by default."""

BUILD_MEMORY = 3 << 30
"""Bytes: the graph of a million vectors of 384 halves takes 1.6 GiB, of floats 2.3, both more than
the default."""


class Index:
    """One index over the tables of the database."""

    def __init__(self, job: Job) -> None:
        chosen = SETTINGS[job.name]
        self._job = job
        self._settings = load_settings(home=job.state / "home", build_memory=BUILD_MEMORY, **chosen)
        self._kind = job.name.partition("_")[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of the generation."""
        return dict(index_parameters(self._settings)[self._kind])

    def build(self) -> int:
        """Synchronise the index with the tables."""
        with self._open() as (connection, index):
            return sync_index(connection, index).bytes or 0

    def client(self) -> AbstractContextManager[Ask]:
        """A connection, and the index on it."""
        return self._asking(NO_FILTER)

    def filtered(self, percent: int) -> AbstractContextManager[Ask]:
        """The same, of so many percent of the rows, whose metadata says which they are."""
        return self._asking(Compare(f"metadata.{PART}", "<", percent))

    @contextmanager
    def _asking(self, filters: Condition) -> Iterator[Ask]:
        with self._open() as (connection, index):
            yield lambda vector, k: [
                int(chunk_id.rpartition("#")[0])
                for chunk_id in query_index(connection, index, vector, k, filters).chunk_ids
            ]

    def drop(self) -> None:
        """Drop an index of PostgreSQL: the planner weighs them all."""
        with self._open() as (_, index):
            if self._kind == "pgvector":
                index.drop()

    @contextmanager
    def _open(self) -> Iterator[tuple[postgres.Connection, VectorIndex]]:
        with postgres.connect(self._job.database, self._job.state) as connection:
            generation = ensure_generation(
                connection,
                current_space(self._settings).space_id,
                parameters_of(connection, self._settings),
            )
            with KINDS[self._kind].open(self._settings, connection, generation) as index:
                yield connection, index


def open_contender(job: Job) -> Index:
    """The index that the job names."""
    return Index(job)
