"""The nearest other vector of each, exact, in bounded memory; and again when a few have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 2048
"""Rows of a block; two blocks' similarities are 16 MiB."""

_MARGIN = 1e-5
"""Of a similarity in float32."""

UNKNOWN = -1
"""In the place of a row's nearest: it was not looked for, or there is no other row."""


def nearest_others(
    vectors: NDArray[np.float32],
    nearest: NDArray[np.intp],
    distances: NDArray[np.float64],
    block: int = BLOCK,
) -> None:
    """Find the nearest other row of each, and 1 - cosine to it, in [0, 2]; both in place.

    `vectors` (n, dimension) are normalised in place; a zero vector is at distance 1 of all. Of
    `nearest` (n,), the rows that are `UNKNOWN` are compared with all, the others, whose distance
    is known, with those alone: so no vector of theirs and of their nearest may have changed. A row
    without another stays `UNKNOWN`, with nan. The nearest row is found in float32, its distance
    computed in float64 and rounded to 6 decimals, so that it does not depend on how blocks fall.
    """
    import numpy as np

    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, norms, out=vectors, where=norms > 0)
    if len(vectors) < 2:
        nearest[:], distances[:] = UNKNOWN, np.nan
        return
    unknown, known = (np.flatnonzero(rows) for rows in (nearest == UNKNOWN, nearest != UNKNOWN))
    # How similar a row has to be to be nearer than what is known; the margin is that of float32.
    least = np.full(len(vectors), np.inf, np.float32)
    least[known] = 1 - distances[known] - _MARGIN
    candidates = np.full(len(vectors), UNKNOWN, np.intp)
    for start in range(0, len(unknown), block):
        rows = unknown[start : start + block]
        nearest[rows] = _nearest(vectors, rows, block, least, candidates)
        distances[rows] = _distances(vectors, rows, nearest[rows])
    rows = np.flatnonzero(candidates != UNKNOWN)
    apart = _distances(vectors, rows, candidates[rows])
    nearer = apart < distances[rows]
    nearest[rows[nearer]], distances[rows[nearer]] = candidates[rows[nearer]], apart[nearer]


def nearest_distances(
    vectors: NDArray[np.float32], others: NDArray[np.float32], own: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """1 - cosine from each of `vectors` (m, dimension) to the nearest of `others` (n, dimension).

    All are of unit length. `own` (m, n) are pairs that are one document; nan where there is no
    other. Computed as `nearest_others` computes it.
    """
    import numpy as np

    similarities = np.where(own, -np.inf, vectors @ others.T)
    nearest = similarities.argmax(axis=1)
    distances = _apart(vectors, others[nearest])
    return np.where(own.all(axis=1), np.nan, distances)


def _distances(
    vectors: NDArray[np.float32], rows: NDArray[np.intp], others: NDArray[np.intp]
) -> NDArray[np.float64]:
    return _apart(vectors[rows], vectors[others])


def _apart(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 - cosine of each pair of rows."""
    import numpy as np

    cosines = np.einsum("ij,ij->i", first, second, dtype=np.float64)
    distances: NDArray[np.float64] = np.clip(1 - cosines, 0, 2).round(6)
    return distances


def _nearest(
    vectors: NDArray[np.float32],
    rows: NDArray[np.intp],
    block: int,
    least: NDArray[np.float32],
    candidates: NDArray[np.intp],
) -> NDArray[np.intp]:
    """The nearest of each of `rows` that is not the row itself.

    What is computed for a row tells of the others, too, so that a change costs one product of all
    with what changed: where one of `rows` is more similar than `least`, it is the new candidate.
    """
    import numpy as np

    own = vectors[rows]
    best = np.full(len(rows), -np.inf, np.float32)
    nearest = np.zeros(len(rows), np.intp)
    each = np.arange(len(rows))
    for start in range(0, len(vectors), block):
        similarities = own @ vectors[start : start + block].T
        inside = (rows >= start) & (rows < start + block)
        similarities[each[inside], rows[inside] - start] = -np.inf
        top = similarities.max(axis=0)
        columns = np.flatnonzero(top > least[start : start + block])
        least[start + columns] = top[columns]
        candidates[start + columns] = rows[similarities[:, columns].argmax(axis=0)]
        places = similarities.argmax(axis=1)
        found = similarities[each, places]
        nearer = found > best
        best[nearer], nearest[nearer] = found[nearer], start + places[nearer]
    return nearest
