"""Vectors as files: the rows, the queries, jittered copies, and what exact search says.

Nothing here may import what only one of the environments has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Numbers = NDArray[np.int64]

K = 10
JITTER = 0.5
"""The norm of the noise that is added to a vector of norm 1: their cosine is about 0.89."""

_BLOCK = 8192
_EQUAL = 1e-5
"""Cosines that differ less are ties, by the rounding of float32."""


@dataclass(frozen=True)
class Vectors:
    """A folder with unit vectors: `count` rows, whose numbers are their ids, and queries."""

    folder: Path
    count: int
    queries: Matrix

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return int(self.queries.shape[1])

    def blocks(self) -> Iterator[Matrix]:
        """The rows, each block of shape (up to 8192, dimension): read, not mapped into memory."""
        size = _BLOCK * self.dimension
        with _rows_file(self.folder).open("rb") as file:
            while (block := np.fromfile(file, dtype=np.float32, count=size)).size:
                yield block.reshape(-1, self.dimension)


def save(folder: Path, blocks: Iterable[Matrix], queries: Matrix) -> Vectors:
    """Write the rows block by block, and the queries; each row as halves can say it."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with _rows_file(folder).open("wb") as file:
        for block in blocks:
            _unit(block.astype(np.float16).astype(np.float32)).tofile(file)
            count += len(block)
    np.save(folder / "queries.npy", _unit(queries))
    (folder / "count.json").write_text(json.dumps(count))
    return load(folder)


def load(folder: Path) -> Vectors:
    """What was saved in the folder."""
    count = json.loads((folder / "count.json").read_text())
    return Vectors(folder, count, np.load(folder / "queries.npy"))


def jittered(vectors: Vectors, count: int) -> Iterator[Matrix]:
    """`count` rows made of the real ones, by turns, with gaussian noise of norm `JITTER`."""
    random = np.random.default_rng(0)
    while count > 0:
        for block in vectors.blocks():
            made = block[:count]
            noise = _unit(random.standard_normal(made.shape, dtype=np.float32))
            yield _unit(made + JITTER * noise)
            count -= len(made)
            if count <= 0:
                return


def nearest_cosines(vectors: Vectors, k: int = K) -> Matrix:
    """The cosine of the k-th nearest row of each query by exact search, of shape (queries,)."""
    best = np.full((len(vectors.queries), k), -np.inf, dtype=np.float32)
    for block in vectors.blocks():
        cosines = vectors.queries @ block.T
        best = -np.partition(-np.hstack([best, cosines]), k - 1, axis=1)[:, :k]
    worst: Matrix = best.min(axis=1)
    return worst


def recall(vectors: Vectors, found: list[list[int]], kth: Matrix, k: int = K) -> float:
    """recall@k of the rows that were found for each query.

    A row is right when it is as near as the k-th nearest, so that which of several equal texts is
    found makes no difference (as in ann-benchmarks).
    """
    rows = np.memmap(_rows_file(vectors.folder), dtype=np.float32, mode="r").reshape(
        -1, vectors.dimension
    )
    right = sum(
        int((rows[numbers] @ query >= least - _EQUAL).sum())
        for numbers, query, least in zip(
            ([*dict.fromkeys(numbers)][:k] for numbers in found), vectors.queries, kth, strict=True
        )
        if numbers
    )
    return right / (k * len(found))


def _rows_file(folder: Path) -> Path:
    return folder / "rows.f4"


def _unit(matrix: Matrix) -> Matrix:
    unit: Matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit.astype(np.float32)
