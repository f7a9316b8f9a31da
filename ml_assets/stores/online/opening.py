"""Which online store a deployment has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_assets.stores.online import redis, sqlite
from ml_assets.stores.online.contract import OnlineStore


@contextmanager
def connect(url: str | None, home: Path) -> Iterator[OnlineStore]:
    """Open the Redis server of `url`, or the SQLite file under `home`; closed at the end.

    Raises:
        StoreError: the server cannot be reached or refuses, the file cannot be opened or written.
    """
    with redis.open_redis(url) if url else sqlite.open_sqlite(home / "online.sqlite") as store:
        yield store
