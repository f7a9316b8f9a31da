"""A cache in Redis, which forgets what has ended by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ml_assets.stores.cache.contract import Cache, Clock, checked, opened, sealed
from ml_assets.stores.redis import SCHEMES, connected

__all__ = ["SCHEMES", "open_cache"]

_PREFIX = "ml_assets_cache:"
_AT_ONCE = 1000
"""Keys that are looked at in one round trip."""
_SECONDS = 0.5
"""To connect, and to answer: computing takes less than waiting for longer."""


@contextmanager
def open_cache(url: str, clock: Clock) -> Iterator[Cache]:
    """Open the server, or the cluster, at `url`; closed at the end."""
    with connected(url, connect_seconds=_SECONDS, answer_seconds=_SECONDS) as client:
        yield _Redis(client, clock)


class _Redis:
    """A string for each value; a call is one round trip to each node."""

    def __init__(self, client: Any, clock: Clock) -> None:
        self._client, self._clock = client, clock

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        if not keys:
            return {}
        # Not MGET, whose keys must be in one slot of a cluster.
        with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.get(_PREFIX + checked(key))
            stored = pipeline.execute()
        now = self._clock()
        values = {key: opened(each, now) for key, each in zip(keys, stored, strict=True)}
        return {key: value for key, value in values.items() if value is not None}

    def put_many(self, values: Mapping[str, bytes], seconds: float) -> None:
        rows = sealed(values, seconds, self._clock())
        if not rows:
            return
        with self._client.pipeline(transaction=False) as pipeline:
            for key, stored in rows.items():
                pipeline.set(_PREFIX + key, stored, px=math.ceil(seconds * 1000))
            pipeline.execute()

    def clear(self) -> bool:
        with self._client.pipeline(transaction=False) as pipeline:
            for key in self._client.scan_iter(f"{_PREFIX}*", count=_AT_ONCE):
                pipeline.unlink(key)
            pipeline.execute()
        return True

    def delete_many(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.delete(_PREFIX + checked(key))
            pipeline.execute()
