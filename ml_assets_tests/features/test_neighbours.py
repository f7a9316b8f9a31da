import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml_assets.features.neighbours import BLOCK, UNKNOWN, nearest_others

Found = tuple[NDArray[np.intp], NDArray[np.float64]]


def search(vectors: NDArray[np.float32], block: int = BLOCK, known: Found | None = None) -> Found:
    """The nearest of each, and its distance, from nothing or from what was `known`."""
    nearest, distances = known or (np.full(len(vectors), UNKNOWN), np.full(len(vectors), np.nan))
    nearest_others(vectors.copy(), nearest, distances, block)
    return nearest, distances


def random(count: int, dimension: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


@given(st.integers(2, 40), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_distances_are_those_of_all_pairs(count: int, block: int, seed: int) -> None:
    vectors = random(count, 8, seed)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest, distances = search(vectors, block)
    np.testing.assert_array_equal(nearest, cosines.argmax(axis=1))
    np.testing.assert_allclose(distances, 1 - cosines.max(axis=1), atol=2e-6)


@given(st.integers(2, 40), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_after_a_change_they_are_as_if_found_from_nothing(
    count: int, block: int, seed: int
) -> None:
    """Some rows changed; they and those whose nearest they were are not known."""
    chance = np.random.default_rng(seed)
    vectors = random(count, 8, seed)
    nearest, distances = search(vectors)
    changed = chance.random(count) < 0.3
    vectors[changed] = random(count, 8, seed + 1)[changed]
    stale = changed | changed[nearest]
    nearest[stale], distances[stale] = UNKNOWN, np.nan
    found = search(vectors, block, (nearest, distances))
    for values, expected in zip(found, search(vectors), strict=True):
        np.testing.assert_array_equal(values, expected)


def test_what_is_known_is_compared_with_what_changed_alone() -> None:
    """Between two that are known, a distance that is not true stays."""
    vectors = np.array([[1, 0, 0], [1, 0, 0.1], [1, 0.1, 0], [0, 1, 0]], np.float32)
    known = np.array([1, 0, UNKNOWN, 0]), np.array([0.001, 0.001, np.nan, 0.5])
    nearest, distances = search(vectors, 2, known)
    assert nearest.tolist() == [1, 0, 0, 0]
    assert distances.tolist() == [0.001, 0.001, pytest.approx(0.004963), 0.5]


def test_the_result_does_not_depend_on_blocks() -> None:
    vectors = random(500, 64, 0)
    expected = search(vectors)
    for block in (1, 7, 64, 499, 500):
        np.testing.assert_array_equal(search(vectors, block), expected)


def test_equal_and_opposite_and_zero_vectors() -> None:
    vectors = np.array([[1, 0], [2, 0], [0, 0]], np.float32)
    np.testing.assert_array_equal(search(vectors)[1], [0, 0, 1])
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    np.testing.assert_array_equal(search(opposite)[1], [2, 2])


@pytest.mark.parametrize("count", [0, 1])
def test_without_another_vector_there_is_no_distance(count: int) -> None:
    nearest, distances = search(np.ones((count, 3), np.float32))
    assert (nearest == UNKNOWN).all()
    assert distances.shape == (count,)
    assert np.isnan(distances).all()
