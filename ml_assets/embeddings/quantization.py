"""Vectors in fewer bytes: half precision, and one byte a number; what each loses is bounded.

Both come as rows of a numpy dtype, so that a row is also the bytes that a store keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float32]

LARGEST_FLOAT16 = 65504.0
_LEVELS = 255


def to_float16(vectors: Matrix) -> NDArray[np.float16]:
    """Round to half precision: 2 bytes a number instead of 4, same shape (n, dimension).

    A number x comes back from `from_float16` within 2^-11·|x| + 2^-25: the first part for normal
    half numbers (|x| ≥ 2^-14), the second for the subnormal ones below.

    Raises:
        ValueError: a number is not finite, or beyond ±65504, the largest half number.
    """
    _check_finite(vectors)
    if vectors.size and float(np.abs(vectors).max()) > LARGEST_FLOAT16:
        raise ValueError(f"a number beyond ±{LARGEST_FLOAT16:.0f} has no half precision")
    return vectors.astype(np.float16)


def from_float16(rows: NDArray[np.float16]) -> Matrix:
    """The vectors of `to_float16`, of shape (n, dimension); a half number is exact in float32."""
    return rows.astype(np.float32)


def unpack_halves(packed: Sequence[bytes]) -> Matrix:
    """The rows of what pgvector sends of half vectors, of shape (vectors, dimension).

    Each is its dimension, a zero, then big-endian numbers.
    """
    rows = np.frombuffer(b"".join(packed), dtype=">f2").reshape(len(packed), -1)
    return from_float16(rows[:, 2:])


def unit(vectors: ArrayLike) -> Matrix:
    """The rows of a matrix of shape (n, dimension) at norm 1; a zero row stays.

    Half precision leaves norms off by 1e-4, and the mean of opposite vectors is zero.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Matrix = rows / np.maximum(norms, np.finfo(np.float32).tiny)
    return scaled


def uint8_rows(dimension: int) -> np.dtype[Any]:
    """The dtype of one quantized vector: 8 + `dimension` bytes."""
    return np.dtype([("low", "<f4"), ("step", "<f4"), ("codes", "u1", (dimension,))])


def to_uint8(vectors: Matrix) -> NDArray[Any]:
    """Round each vector to 256 even levels between its own least and largest number.

    `vectors` has shape (n, dimension), dimension ≥ 1; the result has shape (n,) and the dtype
    `uint8_rows(dimension)`. A number x of a vector with the least number l and the largest h comes
    back from `from_uint8` within

        (1 + 2^-20) · ((h - l) / 510 + 2^-24 · max(|l|, |h|)) + 2^-140

    half a level, the rounding to float32, and for subnormal numbers the rounding of the step. The
    numbers of a constant vector come back exactly.

    Raises:
        ValueError: a number is not finite.
    """
    _check_finite(vectors)
    rows = np.zeros(len(vectors), dtype=uint8_rows(vectors.shape[1]))
    rows["low"] = vectors.min(axis=1)
    low = rows["low"].astype(np.float64)  # of float32, the range alone could overflow
    rows["step"] = (vectors.max(axis=1) - low) / _LEVELS
    step = rows["step"].astype(np.float64)
    levels = (vectors - low[:, None]) / np.where(step > 0, step, np.inf)[:, None]
    rows["codes"] = np.clip(np.rint(levels), 0, _LEVELS)
    return rows


def from_uint8(rows: NDArray[Any]) -> Matrix:
    """The vectors of `to_uint8`, of shape (n, dimension)."""
    low, step = (rows[name].astype(np.float64)[:, None] for name in ("low", "step"))
    most = np.finfo(np.float32).max  # a step that was rounded up leads beyond it
    vectors: Matrix = np.clip(low + rows["codes"] * step, -most, most).astype(np.float32)
    return vectors


def _check_finite(vectors: Matrix) -> None:
    finite = np.isfinite(vectors)
    if not finite.all():
        row = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise ValueError(f"vector {row} holds a number that is not finite")
