"""One encoder for all threads: what it is asked together, and what becomes of errors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from ml_assets.errors import SettingError
from ml_assets.service.encoding import MOST_TOGETHER, SharedEncoder
from ml_assets_tests.fakes import SPACE, HashEncoder


class Watched(HashEncoder):
    """Waits for a sign before its first answer, and notes what it is asked at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.batches: list[tuple[str, int]] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._noted("documents", texts)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._noted("queries", texts)

    def _noted(self, kind: str, texts: Sequence[str]) -> NDArray[np.float32]:
        self.go.wait(10)
        self.batches.append((kind, len(texts)))
        if "bad" in texts:
            raise SettingError("no", where="here", do="mend it")
        return super().encode(texts)


def test_what_waits_is_encoded_together_and_each_gets_its_own() -> None:
    inner = Watched()
    shared = SharedEncoder(lambda: inner, SPACE)
    texts = [f"text {number}" for number in range(10)]
    asked = [shared.submit([text], queries=True) for text in texts]
    more = shared.submit(["a document", "another"])
    last = shared.submit(["a query"], queries=True)
    inner.go.set()
    expected = HashEncoder().encode(texts)
    for vectors, row in zip(asked, expected, strict=True):
        assert np.array_equal(vectors.result(10), row[None])
    assert more.result(10).shape == (2, SPACE.dimension)
    assert last.result(10).shape == (1, SPACE.dimension)
    # Queries and documents are asked apart; the first was there to warm it.
    assert [kind for kind, _ in inner.batches][-2:] == ["documents", "queries"]
    assert sum(count for _, count in inner.batches) == 1 + 10 + 2 + 1
    assert len(inner.batches) <= 4
    assert max(count for _, count in inner.batches) <= MOST_TOGETHER
    shared.close()


def test_an_error_is_raised_where_it_was_asked_for_and_the_next_is_answered() -> None:
    inner = Watched()
    inner.go.set()
    shared = SharedEncoder(lambda: inner, SPACE)
    with pytest.raises(SettingError, match="mend it"):
        shared.encode(["bad"])
    assert shared.encode_queries(["good"]).shape == (1, SPACE.dimension)
    shared.close()


def test_what_was_encoded_is_kept_when_nobody_waits_and_at_the_end() -> None:
    inner, kept = Watched(), list[int]()
    shared = SharedEncoder(lambda: inner, SPACE, lambda: kept.append(len(inner.batches)))
    waiting = [shared.submit([f"{n}"], queries=bool(n % 2)) for n in range(100)]
    inner.go.set()
    for each in waiting:
        each.result(10)
    shared.close()
    assert kept[0] >= 64, "not while others wait"
    assert kept[-1] == len(inner.batches)
    assert len(kept) >= 2


def test_what_was_encoded_is_not_kept_between_two_questions() -> None:
    kept, written = list[int](), threading.Event()
    inner = Watched()
    inner.go.set()

    def keep() -> None:
        kept.append(len(inner.batches))
        written.set()

    shared = SharedEncoder(lambda: inner, SPACE, keep)
    for number in range(30):  # nobody waits after any of them
        shared.encode_queries([f"{number}"])
    assert len(kept) < 30
    asked = len(inner.batches)
    while kept[-1:] != [asked]:  # then nobody asks
        assert written.wait(10)
        written.clear()
    shared.close()


def test_what_cannot_be_kept_is_told_and_the_next_is_encoded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    shared = SharedEncoder(HashEncoder, SPACE, fail)
    for _ in range(2):
        assert shared.encode_queries(["good"]).shape == (1, SPACE.dimension)
    shared.close()
    assert "vectors were not kept" in caplog.text


def test_many_threads_get_what_they_asked_for() -> None:
    shared = SharedEncoder(HashEncoder, SPACE)
    texts = [f"text {number}" for number in range(200)]
    with ThreadPoolExecutor(16) as threads:
        rows = list(threads.map(lambda text: shared.encode_queries([text])[0], texts))
    assert np.array_equal(rows, HashEncoder().encode(texts))
    shared.close()
