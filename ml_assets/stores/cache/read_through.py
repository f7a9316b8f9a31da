"""A cache that nobody waits for and that no answer fails of, with its hits counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from ml_assets.errors import StoreError
from ml_assets.stores.cache.contract import Cache, key_of

PAUSE = 30.0
"""Seconds for which a cache that failed is not asked."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Values of one meaning: their name, and for how many seconds they hold; 0: never kept."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Values of a kind that were asked for so far: cached, not cached, and not to be asked for."""

    hits: int = 0
    misses: int = 0
    failures: int = 0

    @property
    def hit_ratio(self) -> float | None:
        """Hits of all that were asked for, 0 to 1; None: nothing was."""
        asked = self.hits + self.misses + self.failures
        return self.hits / asked if asked else None


class ReadThrough:
    """A cache that is opened when it is first asked; closed as a context manager.

    An error of its store is a miss: it is counted, and the store is left alone for `PAUSE` seconds.
    Several threads may share one.
    """

    def __init__(
        self,
        open_cache: Callable[[], AbstractContextManager[Cache]],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`open_cache` opens the store, and `timer` tells how long ago it failed."""
        self._open_cache, self._timer = open_cache, timer
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._cache: Cache | None = None
        self._paused_until = float("-inf")
        self._counts: dict[str, CacheStatistics] = {}

    def __enter__(self) -> ReadThrough:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; the next call opens it again."""
        with self._lock:
            stack, self._stack, self._cache = self._stack, ExitStack(), None
            stack.close()

    def statistics(self) -> dict[str, CacheStatistics]:
        """The counts of every kind that was asked for, by its name."""
        with self._lock:
            return dict(self._counts)

    def recall(self, kind: Kind, values: Sequence[Sequence[str]]) -> list[bytes | None]:
        """The cached value of each, which is named by its parts; None: compute it, `remember` it.

        What decides a value must be in its parts: a text, and the version of what reads it.
        """
        if not kind.seconds:
            return [None] * len(values)
        keys = [key_of(kind.name, *parts) for parts in values]
        with self._lock:
            stored = self._attempt(lambda cache: cache.get_many(keys))
            found = [(stored or {}).get(key) for key in keys]
            hits = sum(value is not None for value in found)
            misses = 0 if stored is None else len(found) - hits
            before = self._counts.get(kind.name, CacheStatistics())
            self._counts[kind.name] = CacheStatistics(
                before.hits + hits,
                before.misses + misses,
                before.failures + len(found) - hits - misses,
            )
        return found

    def remember(self, kind: Kind, values: Mapping[tuple[str, ...], bytes]) -> None:
        """Keep values, each by the parts that name it, for as long as their kind holds."""
        if kind.seconds and values:
            keyed = {key_of(kind.name, *parts): value for parts, value in values.items()}
            with self._lock:
                self._attempt(lambda cache: cache.put_many(keyed, kind.seconds))

    def _attempt(self, ask: Callable[[Cache], Any]) -> Any:
        """What the cache answers; None where it fails, or failed just now."""
        if self._timer() < self._paused_until:
            return None
        cache, self._cache = self._cache, None
        try:
            # An error closes the store, which turns those of its own into ours.
            with self._stack.pop_all() as stack:
                if cache is None:
                    cache = stack.enter_context(self._open_cache())
                answer = ask(cache)
                self._stack, self._cache = stack.pop_all(), cache
                return answer
        except StoreError:
            self._paused_until = self._timer() + PAUSE
            return None
