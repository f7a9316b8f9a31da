"""Distance to the nearest other vector, exact, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 2048
"""Rows of a block; two blocks' similarities are 16 MiB."""


def nearest_distances(vectors: NDArray[np.float32], block: int = BLOCK) -> NDArray[np.float64]:
    """Return 1 - cosine to the nearest other row, shape (n,), in [0, 2].

    `vectors` (n, dimension) are normalised in place; a zero vector is at distance 1 of all. A row
    without another has nan. The nearest row is found in float32, its distance computed in float64
    and rounded to 6 decimals, so that a row's distance does not depend on how blocks fall.
    """
    import numpy as np

    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, norms, out=vectors, where=norms > 0)
    count = len(vectors)
    if count < 2:
        return np.full(count, np.nan)
    distances = np.empty(count)
    for start in range(0, count, block):
        rows = vectors[start : start + block]
        nearest = _nearest(vectors, rows, start, block)
        cosines = np.einsum("ij,ij->i", rows, vectors[nearest], dtype=np.float64)
        distances[start : start + block] = np.clip(1 - cosines, 0, 2).round(6)
    return distances


def _nearest(
    vectors: NDArray[np.float32], rows: NDArray[np.float32], start: int, block: int
) -> NDArray[np.intp]:
    """The index of the nearest vector of each of `rows`, which are those from `start` on."""
    import numpy as np

    best = np.full(len(rows), -np.inf, np.float32)
    nearest = np.zeros(len(rows), np.intp)
    each = np.arange(len(rows))
    for offset in range(0, len(vectors), block):
        similarities = rows @ vectors[offset : offset + block].T
        if offset == start:
            np.fill_diagonal(similarities, -np.inf)
        column = similarities.argmax(axis=1)
        nearer = similarities[each, column]
        better = nearer > best
        best[better], nearest[better] = nearer[better], column[better] + offset
    return nearest
