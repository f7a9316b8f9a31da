"""Caches: bytes by key, for a time; one module per store, and a line of `_OPEN`.

What is in one is computed again when it is gone. Not here: what is worth keeping (`session`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ml_assets.stores.cache import memcached, redis, sqlite
from ml_assets.stores.cache.contract import LARGEST, Cache, Clock, key_of
from ml_assets.stores.cache.read_through import CacheStatistics, Kind, ReadThrough

__all__ = [
    "FILE",
    "LARGEST",
    "Cache",
    "CacheStatistics",
    "Kind",
    "ReadThrough",
    "connect",
    "key_of",
]

FILE = "cache.sqlite"
"""The embedded cache, in the home. It is in no backup."""

_OPEN: dict[str, Callable[[str, Clock], AbstractContextManager[Cache]]] = {
    **dict.fromkeys(sqlite.SCHEMES, sqlite.open_cache),
    **dict.fromkeys(memcached.SCHEMES, memcached.open_cache),
    **dict.fromkeys(redis.SCHEMES, redis.open_cache),
}


def connect(url: str | None, home: Path, clock: Clock = time.time) -> AbstractContextManager[Cache]:
    """Open the cache of `url`, or the SQLite file in `home`, which must be there.

    It answers within a second or not at all, and may be used by one thread after the other.

    Raises:
        StoreError: it cannot be opened.
    """
    url = url or f"sqlite://{home / FILE}"
    # The variable is REDIS_URL: Redis says what is wrong with the URL of something else.
    return _OPEN.get(url.partition("://")[0], redis.open_cache)(url, clock)
