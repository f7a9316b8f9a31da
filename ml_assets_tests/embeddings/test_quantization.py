"""What quantization loses is within the bounds that it states, for any finite vectors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from ml_assets.embeddings.quantization import (
    from_float16,
    from_uint8,
    to_float16,
    to_uint8,
    uint8_rows,
    unit,
)

Matrix = NDArray[np.float32]
BOTH = [to_float16, to_uint8]


def matrices(most: float) -> st.SearchStrategy[Matrix]:
    numbers = st.floats(-most, most, width=32) | st.floats(-1, 1, width=32)
    shapes = array_shapes(min_dims=2, max_dims=2, max_side=12)
    return arrays(np.float32, shapes, elements=numbers)


@given(matrices(65504))
def test_half_precision_is_within_its_bound(vectors: Matrix) -> None:
    rows = to_float16(vectors)
    assert (rows.dtype, rows.shape) == (np.float16, vectors.shape)
    exact = vectors.astype(np.float64)
    assert (np.abs(from_float16(rows) - exact) <= 2.0**-11 * np.abs(exact) + 2.0**-25).all()


def test_the_bound_of_half_precision_is_reached() -> None:
    """Half between two neighbours: a smaller bound would be wrong."""
    between = np.float32([[1 + 2.0**-11, 2.0**-25]])
    error = np.abs(from_float16(to_float16(between)) - between)
    assert error.tolist() == [[2.0**-11, 2.0**-25]]


@given(matrices(float(np.finfo(np.float32).max)))
def test_one_byte_is_within_its_bound(vectors: Matrix) -> None:
    rows = to_uint8(vectors)
    assert (rows.dtype, rows.shape) == (uint8_rows(vectors.shape[1]), vectors.shape[:1])
    exact = vectors.astype(np.float64)
    low, high = exact.min(axis=1), exact.max(axis=1)
    largest = np.maximum(np.abs(low), np.abs(high))
    bound = (1 + 2.0**-20) * ((high - low) / 510 + 2.0**-24 * largest) + 2.0**-140
    assert (np.abs(from_uint8(rows) - exact) <= bound[:, None]).all()


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(1, 20))
def test_a_constant_vector_comes_back_exactly(number: float, dimension: int) -> None:
    vectors = np.full((2, dimension), number, dtype=np.float32)
    assert (from_uint8(to_uint8(vectors)) == vectors).all()


def test_unit_vectors_of_384_numbers_keep_their_cosines() -> None:
    rows = unit(np.random.default_rng(0).standard_normal((200, 384)))
    exact = rows @ rows.T
    assert np.abs(from_float16(to_float16(rows)) @ rows.T - exact).max() < 1e-4
    assert np.abs(from_uint8(to_uint8(rows)) @ rows.T - exact).max() < 2e-3
    assert to_uint8(rows).nbytes == 200 * (384 + 8)


def test_a_vector_without_direction_stays() -> None:
    rows = unit([[3, 4], [0, 0]])
    assert rows.dtype == np.float32
    assert rows.tolist() == [pytest.approx([0.6, 0.8]), [0, 0]]


@pytest.mark.parametrize("quantize", BOTH)
def test_no_vectors_are_no_rows(quantize: Callable[[Matrix], NDArray[Any]]) -> None:
    assert len(quantize(np.zeros((0, 4), dtype=np.float32))) == 0


@pytest.mark.parametrize("quantize", BOTH)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(
    quantize: Callable[[Matrix], NDArray[Any]], number: float
) -> None:
    vectors = np.zeros((3, 4), dtype=np.float32)
    vectors[1, 2] = number
    with pytest.raises(ValueError, match="vector 1 holds"):
        quantize(vectors)


def test_what_has_no_half_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="65504"):
        to_float16(np.full((1, 2), 70_000, dtype=np.float32))
