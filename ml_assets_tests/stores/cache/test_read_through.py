from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ml_assets.errors import OutageError
from ml_assets.stores import cache
from ml_assets.stores.cache import Cache, CacheStatistics, Kind, ReadThrough
from ml_assets.stores.cache.read_through import PAUSE

KIND = Kind("words", 60)


class Flaky:
    """A cache in a file that fails while it is told to, as one whose server is away."""

    def __init__(self, home: Path) -> None:
        self.home, self.down, self.now = home, False, 0.0
        self.opened = self.closed = self.asked = 0

    @contextmanager
    def open(self) -> Iterator[Cache]:
        self.opened += 1
        try:
            with cache.connect(None, self.home) as opened:
                self.inner = opened
                yield self
        finally:
            self.closed += 1

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        self.ask()
        return self.inner.get_many(keys)

    def put_many(self, values: Mapping[str, bytes], seconds: float) -> None:
        self.ask()
        self.inner.put_many(values, seconds)

    def delete_many(self, keys: Sequence[str]) -> None:
        self.inner.delete_many(keys)

    def ask(self) -> None:
        self.asked += 1
        if self.down:
            raise OutageError("away", do="Wait")

    def timer(self) -> float:
        return self.now


@pytest.fixture
def flaky(tmp_path: Path) -> Flaky:
    return Flaky(tmp_path)


def test_what_was_remembered_is_recalled_and_counted(flaky: Flaky) -> None:
    with ReadThrough(flaky.open, flaky.timer) as words:
        assert words.statistics() == {}
        assert flaky.opened == 0
        assert words.recall(KIND, [("a", "1"), ("b", "1")]) == [None, None]
        words.remember(KIND, {("a", "1"): b"one"})
        assert words.recall(KIND, [("b", "1"), ("a", "1"), ("a", "2")]) == [None, b"one", None]
        assert words.recall(Kind("other", 60), [("a", "1")]) == [None]
        assert words.statistics() == {
            "words": CacheStatistics(1, 4),
            "other": CacheStatistics(0, 1),
        }
        assert words.statistics()["words"].hit_ratio == 1 / 5
        assert flaky.opened == 1
    assert flaky.closed == 1
    with ReadThrough(flaky.open, flaky.timer) as words:
        assert words.recall(KIND, [("a", "1")]) == [b"one"]


def test_a_kind_that_is_never_kept_asks_nobody(flaky: Flaky) -> None:
    with ReadThrough(flaky.open, flaky.timer) as words:
        never = Kind("words", 0)
        words.remember(never, {("a",): b"one"})
        assert words.recall(never, [("a",)]) == [None]
        assert flaky.opened == 0
        assert words.statistics() == {}
    assert CacheStatistics().hit_ratio is None


def test_a_store_that_fails_is_a_miss_and_left_alone_for_a_while(flaky: Flaky) -> None:
    with ReadThrough(flaky.open, flaky.timer) as words:
        words.remember(KIND, {("a",): b"one"})
        flaky.down = True
        assert words.recall(KIND, [("a",), ("b",)]) == [None, None]
        assert flaky.closed == 1
        flaky.down, asked = False, flaky.asked
        flaky.now += PAUSE - 1
        assert words.recall(KIND, [("a",)]) == [None]
        words.remember(KIND, {("b",): b"two"})
        assert flaky.asked == asked
        assert words.statistics() == {"words": CacheStatistics(failures=3)}
        flaky.now += 1
        assert words.recall(KIND, [("a",), ("b",)]) == [b"one", None]
        assert words.statistics() == {"words": CacheStatistics(1, 1, 3)}


def test_another_error_is_not_hidden(flaky: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("a defect")

    with ReadThrough(flaky.open, flaky.timer) as words:
        words.remember(KIND, {("a",): b"one"})
        with monkeypatch.context() as patched:
            patched.setattr(flaky, "ask", broken)
            with pytest.raises(RuntimeError, match="a defect"):
                words.recall(KIND, [("a",)])
        assert words.recall(KIND, [("a",)]) == [b"one"]
        assert flaky.opened - flaky.closed == 1
