"""FAISS alone, in memory: comparing with every vector, and a graph. No filters, no deletions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import faiss

from bench.search.contenders.protocol import Ask, Job

M, EF_CONSTRUCTION, EF_SEARCH = 16, 128, 100
"""As ml_assets builds and asks its graphs by default."""


class Index:
    """One FAISS index, saved to a file when it is built."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._graph = job.name == "raw_faiss_hnsw"
        self._file = job.state / f"{job.name}.faiss"

    @property
    def parameters(self) -> dict[str, Any]:
        """The graph's."""
        if not self._graph:
            return {"index": "flat"}
        return {"index": "hnsw", "m": M, "ef_construction": EF_CONSTRUCTION, "ef_search": EF_SEARCH}

    def build(self) -> int:
        """Add all rows, on all processors."""
        index = self._new()
        for block in self._job.vectors.blocks():
            index.add(block)
        faiss.write_index(index, str(self._file))
        return self._file.stat().st_size

    @contextmanager
    def client(self) -> Iterator[Ask]:
        """All clients share one index in memory."""
        faiss.omp_set_num_threads(1)
        index = self._loaded
        yield lambda vector, k: [int(number) for number in index.search(vector[None], k)[1][0]]

    def drop(self) -> None:
        """Do nothing: the file is in a temporary folder."""

    def _new(self) -> Any:
        dimension = self._job.vectors.dimension
        if not self._graph:
            return faiss.IndexFlatIP(dimension)
        index = faiss.IndexHNSWFlat(dimension, M, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.hnsw.efSearch = EF_SEARCH
        return index

    @cached_property
    def _loaded(self) -> Any:
        return faiss.read_index(str(self._file))


def open_contender(job: Job) -> Index:
    """The index that the job names."""
    return Index(job)
