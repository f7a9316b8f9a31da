"""hnswlib alone, in memory: a graph. Needs the environment of the peers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import hnswlib

from bench.search.contenders.protocol import Ask, Job

M, EF_CONSTRUCTION, EF_SEARCH = 16, 128, 100
"""As ml_assets builds and asks its graphs by default."""


class Index:
    """One graph, saved to a file when it is built."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._file = job.state / "hnswlib.bin"

    @property
    def parameters(self) -> dict[str, Any]:
        """The graph's."""
        return {"index": "hnsw", "m": M, "ef_construction": EF_CONSTRUCTION, "ef_search": EF_SEARCH}

    def build(self) -> int:
        """Add all rows, on all processors."""
        vectors = self._job.vectors
        index = hnswlib.Index(space="ip", dim=vectors.dimension)
        index.init_index(max_elements=vectors.count, M=M, ef_construction=EF_CONSTRUCTION)
        for block in vectors.blocks():
            index.add_items(block)
        index.save_index(str(self._file))
        return self._file.stat().st_size

    @contextmanager
    def client(self) -> Iterator[Ask]:
        """All clients share one graph in memory."""
        index = self._loaded

        def ask(vector: Any, k: int) -> list[int]:
            numbers, _ = index.knn_query(vector[None], k=k, num_threads=1)
            return [int(number) for number in numbers[0]]

        yield ask

    def drop(self) -> None:
        """Do nothing: the file is in a temporary folder."""

    @cached_property
    def _loaded(self) -> Any:
        index = hnswlib.Index(space="ip", dim=self._job.vectors.dimension)
        index.load_index(str(self._file))
        index.set_ef(EF_SEARCH)
        return index


def open_contender(job: Job) -> Index:
    """The index that the job names; there is one."""
    return Index(job)
