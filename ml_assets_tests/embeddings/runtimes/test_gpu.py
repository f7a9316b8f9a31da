"""What fills a GPU, on a CPU: order, token budgets, lack of memory, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ml_assets.embeddings.encoder import ParallelEncoder
from ml_assets.embeddings.runtimes import gpu
from ml_assets.embeddings.runtimes.gpu import GpuEncoder
from ml_assets.embeddings.runtimes.reference import SentenceTransformerEncoder
from ml_assets.embeddings.space import current_model
from ml_assets.settings import load_settings
from ml_assets_tests.embeddings.corpus import TEXTS

MODEL = current_model(load_settings())
SHORT = [f"text number {n} {'word ' * (n % 40)}" for n in range(60)]


class Watched(GpuEncoder):
    """Notes the shape of every batch; runs out of memory beyond so many tokens."""

    room = 10**9

    def _forward(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        tokens = len(ids) * max(map(len, ids))
        if not hasattr(self, "shapes"):
            self.shapes: list[tuple[int, int]] = []
        self.shapes.append((len(ids), max(map(len, ids))))
        if tokens > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._forward(ids)


@cache
def transformer() -> Any:
    """That of float32, which needs no comparison with itself."""
    return SentenceTransformerEncoder(MODEL, "float32").transformer


def encoder_with(budget: int, *, room: int = 10**9) -> Watched:
    encoder = Watched(MODEL, "float32", device="cpu", free_bytes=lambda: 0)
    encoder.__dict__["_module"] = transformer()
    encoder.__dict__["budget"] = budget
    encoder.room = room
    return encoder


def worst_cosine(vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float((vectors * expected).sum(axis=1).min())


def test_the_numbers_are_those_of_the_reference(reference: SentenceTransformerEncoder) -> None:
    encoder = encoder_with(4096)
    vectors = encoder.encode([*TEXTS, *SHORT])
    assert vectors.dtype == np.float32
    assert worst_cosine(vectors, reference.encode([*TEXTS, *SHORT])) >= 0.99999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.encode([]).shape == (0, 384)
    assert isinstance(encoder, ParallelEncoder)


def test_half_precision_is_used_where_it_holds(
    reference: SentenceTransformerEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "SAMPLE", TEXTS[:4])
    # On a CPU float16 takes minutes; on a GPU it is tried first.
    chosen = GpuEncoder(MODEL, "bfloat16", device="cpu", free_bytes=lambda: 1 << 30)
    assert worst_cosine(chosen.encode(TEXTS), reference.encode(TEXTS)) >= 0.9995
    assert chosen.precision == "bfloat16"
    assert GpuEncoder(MODEL)._wanted == ("float16", "bfloat16")
    monkeypatch.setattr(gpu, "MIN_COSINE", 1.1)
    exact = GpuEncoder(MODEL, "bfloat16", device="cpu", free_bytes=lambda: 1 << 30)
    assert worst_cosine(exact.encode(TEXTS), reference.encode(TEXTS)) >= 0.99999
    assert exact.precision == "float32"


def test_batches_keep_to_the_budget_longest_first() -> None:
    encoder = encoder_with(256)
    encoder.encode(SHORT)
    assert all(count * width <= 256 for count, width in encoder.shapes)
    widths = [width for _, width in encoder.shapes]
    assert widths == sorted(widths, reverse=True)
    assert sum(count for count, _ in encoder.shapes) == len(SHORT)
    assert len(encoder.shapes) < 15


def test_a_text_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    encoder = encoder_with(16)
    encoder.encode(["word " * 50, "word", "word"])
    assert encoder.shapes[0] == (1, 52)


def test_out_of_memory_halves_the_budget_and_goes_on(
    reference: SentenceTransformerEncoder,
) -> None:
    encoder = encoder_with(2048, room=300)
    assert worst_cosine(encoder.encode(SHORT), reference.encode(SHORT)) >= 0.99999
    failed = [shape for shape in encoder.shapes if shape[0] * shape[1] > 300]
    assert len(failed) == 3
    assert encoder.budget <= 300
    before = len(encoder.shapes)
    encoder.encode(SHORT)
    assert all(count * width <= 300 for count, width in encoder.shapes[before:])


def test_a_device_without_room_for_one_text_says_so() -> None:
    encoder = encoder_with(2048, room=1)
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(["one text"])


@pytest.mark.parametrize(
    ("free", "expected"), [(0, gpu.LEAST_TOKENS), (1 << 30, 21_845), (1 << 50, gpu.MOST_TOKENS)]
)
def test_the_budget_follows_from_the_free_memory(free: int, expected: int) -> None:
    encoder = GpuEncoder(MODEL, "float32", device="cpu", free_bytes=lambda: free)
    encoder.__dict__["_module"] = transformer()
    assert encoder.budget == expected


def test_texts_are_tokenized_while_the_device_works() -> None:
    order: list[str] = []

    class Noting(GpuEncoder):
        def _tokenize(self, texts: list[str]) -> list[list[int]]:
            order.append(f"tokenized {texts[0]}")
            return super()._tokenize(texts)

        def _run(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
            if not order.count("ran"):
                second.result()  # the next group is tokenized before this one is done
            order.append("ran")
            return np.zeros((len(ids), 384), dtype=np.float32)

    second: Future[None] = Future()
    encoder = Noting(MODEL, device="cpu")
    first = encoder.submit(["a"])
    later = encoder.submit(["b"])
    encoder._tokenizing.submit(lambda: second.set_result(None))
    assert first.result(timeout=30).shape == later.result(timeout=30).shape == (1, 384)
    assert order == ["tokenized a", "tokenized b", "ran", "ran"]
