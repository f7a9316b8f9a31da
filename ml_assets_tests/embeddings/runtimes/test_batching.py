from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml_assets.embeddings.runtimes.batching import BatchingEncoder, token_batches
from ml_assets.embeddings.space import current_model
from ml_assets.settings import load_settings

if TYPE_CHECKING:
    from ml_assets.embeddings.runtimes.batching import Run

MODEL = current_model(load_settings())


@given(st.lists(st.integers(1, 300)), st.integers(1, 500))
def test_batches_hold_every_text_once_and_keep_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_batches(lengths, budget))
    positions = [position for batch in batches for position in batch]
    assert sorted(positions) == list(range(len(lengths)))
    assert [lengths[position] for position in positions] == sorted(lengths)
    for batch in batches:
        longest = lengths[batch[-1]]
        assert len(batch) == 1 or len(batch) * longest <= budget


def each(hidden: Callable[..., NDArray[np.float32]]) -> Run:
    return lambda batches: (hidden(ids, mask) for ids, mask in batches)


def test_pooling_is_the_mean_over_a_texts_own_tokens() -> None:
    def hidden(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        # What stands on padding is large: it must not be counted.
        states = np.full((*ids.shape, 384), 1e3, dtype=np.float32)
        states[mask == 1] = 0
        states[:, :, 0] = np.where(mask == 1, ids, 1e3)
        states[:, :, 1] = np.where(mask == 1, 100, 1e3)
        return states

    encoder = BatchingEncoder(MODEL, lambda: each(hidden))
    texts = ["One.", "Several more words than one.", ""]
    vectors = encoder.encode(texts)
    for vector, ids in zip(vectors, encoder.tokenize(texts), strict=True):
        mean = np.array([np.mean(ids), 100])
        np.testing.assert_allclose(vector[:2], mean / np.linalg.norm(mean), rtol=1e-5)
        assert not vector[2:].any()


def widths_of(texts: Sequence[str], width_step: int) -> list[int]:
    """The widths of the batches of these texts."""
    widths: list[int] = []

    def hidden(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        widths.append(ids.shape[1])
        return np.ones((*ids.shape, 384), dtype=np.float32)

    BatchingEncoder(MODEL, lambda: each(hidden), width_step=width_step).encode(texts)
    return widths


def test_batches_have_few_widths_where_that_is_wanted() -> None:
    texts = ["word " * count for count in range(0, 400, 3)]
    assert {*widths_of(texts, 16)} <= set(range(16, MODEL.space.max_tokens + 1, 16))


def test_a_batch_is_as_wide_as_its_longest_text() -> None:
    texts = ["two words", "and three words"]
    lengths = [len(ids) for ids in BatchingEncoder(MODEL, dict).tokenize(texts)]  # type: ignore[arg-type]
    assert widths_of(texts, 1) == [max(lengths)]
    assert widths_of(texts[:1], 1) == [min(lengths)]


def test_few_shapes_are_of_a_power_of_two_of_rows_and_change_no_vector() -> None:
    shapes: set[tuple[int, ...]] = set()

    def hidden(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        shapes.add(ids.shape)
        return np.repeat(ids[:, :, None], 384, 2).astype(np.float32) + np.arange(384)

    exact = BatchingEncoder(MODEL, lambda: each(hidden))
    few = BatchingEncoder(MODEL, lambda: each(hidden), width_step=16, few_shapes=True)
    texts = ["two words", "and three words", *["word " * count for count in range(20, 30)]]
    for number in (1, 2, 3, len(texts)):
        shapes.clear()
        vectors = few.encode(texts[:number])
        assert all(rows.bit_count() == 1 and not width % 16 for rows, width in shapes)
        np.testing.assert_allclose(vectors, exact.encode(texts[:number]), rtol=1e-6)
