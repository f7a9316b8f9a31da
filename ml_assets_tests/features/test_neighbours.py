import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.features.neighbours import nearest_distances


@given(st.integers(2, 40), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_distances_are_those_of_all_pairs(count: int, block: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    found = nearest_distances(vectors.copy(), block)
    np.testing.assert_allclose(found, 1 - cosines.max(axis=1), atol=2e-6)


def test_the_result_does_not_depend_on_blocks() -> None:
    vectors = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    expected = nearest_distances(vectors.copy(), 2048)
    for block in (1, 7, 64, 499, 500):
        np.testing.assert_array_equal(nearest_distances(vectors.copy(), block), expected)


def test_equal_and_opposite_and_zero_vectors() -> None:
    vectors = np.array([[1, 0], [2, 0], [0, 0]], np.float32)
    np.testing.assert_array_equal(nearest_distances(vectors), [0, 0, 1])
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    np.testing.assert_array_equal(nearest_distances(opposite), [2, 2])


@pytest.mark.parametrize("count", [0, 1])
def test_without_another_vector_there_is_no_distance(count: int) -> None:
    found = nearest_distances(np.ones((count, 3), np.float32))
    assert found.shape == (count,)
    assert np.isnan(found).all()
