"""How much memory building an index of pgvector takes, before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_assets.search.indexes.sizing import lists_of

DEFAULT_LIMIT = 1 << 30
"""Bytes that a build may take when the caller says nothing else."""

_LEAST = 64 << 20
_MARGIN = 1.1
_BYTES_PER_NUMBER = {"halfvec": 2.0, "vector": 4.0, "bit": 0.125}
_BYTES_PER_NEIGHBOUR = 16
_BYTES_PER_NODE = 184


@dataclass(frozen=True, slots=True)
class BuildMemory:
    """What a build would take and what it gets, in bytes."""

    estimate: int
    granted: int
    lists: bool = False
    """Training lists takes it, which pgvector refuses with less; a graph is built slowly then."""
    due: bool = True
    """There is something to build."""

    @property
    def fits(self) -> bool:
        """Whether it gets what it would take."""
        return self.granted >= self.estimate

    @property
    def message(self) -> str:
        """Whether it is built in memory, in words."""
        if not self.due:
            return "nothing to build: the index is current"
        if self.fits:
            return "in memory"
        what = "too little: the training of the lists" if self.lists else "slow: the graph"
        return (
            f"{what} takes {self.estimate >> 20} MiB and gets"
            f" {self.granted >> 20}; raise ML_ASSETS_BUILD_MEMORY"
        )


def graph_bytes(rows: int, dimension: int, m: int, kind: str = "halfvec") -> int:
    """The memory of pgvector's graph while it is built, in bytes.

    rows x (vector + 16 x (2 m + m / (m - 1)) + 184): a node has 2 m neighbours in the lowest layer
    and m in each of the 1 / (m - 1) layers above that it is in on average, each a candidate of 16
    bytes; 184 are the node itself with the heads of its lists and of the vector. Source: the
    structures of pgvector's `hnsw.h`; the constants from its notice "hnsw graph no longer fits".
    """
    vector = dimension * _BYTES_PER_NUMBER[kind]
    neighbours = _BYTES_PER_NEIGHBOUR * (2 * m + m / (m - 1))
    return round(rows * (vector + neighbours + _BYTES_PER_NODE))


def sample_bytes(rows: int, dimension: int) -> int:
    """The memory for training an IVFFlat index, in bytes.

    50 rows a list are sampled (pgvector's ivfbuild.c), each of `dimension` floats of 4 bytes, and
    k-means keeps a lower bound of 4 bytes for each of them and each list.
    """
    lists = lists_of(rows)
    sampled = min(rows, 50 * lists)
    return 4 * sampled * (dimension + lists)


def plan_build(
    rows: int, dimension: int, parameters: Mapping[str, Any], limit: int = DEFAULT_LIMIT
) -> BuildMemory:
    """The estimate with a margin of a tenth, and what is granted: that, within `limit`.

    A parallel build takes all that is granted from /dev/shm at once, so no more is granted than
    the graph needs.
    """
    lists = parameters.get("index") == "ivfflat"
    needed = (
        sample_bytes(rows, dimension)
        if lists
        else graph_bytes(rows, dimension, parameters["m"], parameters["type"])
    )
    estimate = round(_MARGIN * needed)
    return BuildMemory(estimate, min(limit, max(_LEAST, estimate)), lists)
