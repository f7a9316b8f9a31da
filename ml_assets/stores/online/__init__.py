"""The online store: latest feature values by entity; one module per store, and a line of `_OPEN`.

Not here: what a feature is (`features`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ml_assets.stores.online import redis, sqlite
from ml_assets.stores.online.contract import OnlineStore, Value, Values

__all__ = ["OnlineStore", "Value", "Values", "connect"]

_OPEN: dict[str, Callable[[str], AbstractContextManager[OnlineStore]]] = {
    **dict.fromkeys(sqlite.SCHEMES, sqlite.open_store),
    **dict.fromkeys(redis.SCHEMES, redis.open_store),
}


def connect(url: str | None, home: Path) -> AbstractContextManager[OnlineStore]:
    """Open the store of `url`, or the SQLite file under `home`; closed at the end."""
    url = url or f"sqlite://{home / 'online.sqlite'}"
    # The variable is REDIS_URL: Redis says what is wrong with the URL of something else.
    return _OPEN.get(url.partition("://")[0], redis.open_store)(url)
