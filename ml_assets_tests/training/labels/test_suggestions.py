"""What to label next: in doubt, and unlike each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.training.labels.suggestions import choose, uncertainty


def test_a_tie_is_the_greatest_doubt() -> None:
    answers = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [1 / 3] * 3])
    assert uncertainty(answers) == pytest.approx([1.0, 0.0, 0.8, 1.0])


def test_of_documents_that_say_the_same_one_is_chosen() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    doubts = np.array([0.9, 0.95, 0.2, 0.6])
    assert choose(doubts, vectors, 3).tolist() == [1, 3, 2]


def test_among_those_that_are_alike_the_doubt_decides() -> None:
    vectors = np.eye(4, dtype=np.float32)
    assert choose(np.array([0.1, 0.4, 0.3, 0.2]), vectors, 4).tolist() == [1, 2, 3, 0]


@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 2**32))
def test_as_many_as_there_are_and_none_twice(rows: int, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(rows, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = choose(generator.random(rows), vectors, count)
    assert len(set(chosen.tolist())) == len(chosen) == min(rows, count)
