"""Redis, by URL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ml_assets.errors import StoreError
from ml_assets.stores.online.contract import OnlineStore, Value, Values, pack

_BATCH = 1000
"""Entities that go to Redis, or come from it, in one round trip."""


@contextmanager
def open_redis(url: str) -> Iterator[OnlineStore]:
    """Open the server at `url`; closed at the end.

    Raises:
        StoreError: it cannot be reached, or refuses.
    """
    from redis import RedisError

    try:
        store = RedisOnlineStore(url)
        try:
            yield store
        finally:
            store.close()
    except RedisError as error:
        raise StoreError(
            f"{_address(url)} cannot be used ({error})",
            where="REDIS_URL",
            do="Check that the server is up and the URL is right, or unset it",
        ) from None


class RedisOnlineStore:
    """Two hashes per view, entity to values and entity to revision; caches are keys that expire."""

    def __init__(self, url: str, prefix: str = "ml_assets") -> None:
        from redis import Redis

        self._prefix = prefix
        try:
            self._client: Any = Redis.from_url(
                url, decode_responses=True, socket_connect_timeout=5, socket_timeout=30
            )
        except ValueError:
            # Its text can hold a part of the password.
            raise StoreError(
                "not a Redis URL",
                where="REDIS_URL",
                do="Write redis://user:password@host:6379/0, with / of a password as %2F",
            ) from None
        self._client.ping()

    def put_many(self, view: str, rows: Mapping[str, Values], revisions: Mapping[str, str]) -> None:
        """Write the values of entities, a batch of them at once or not at all."""
        for batch in _batches(rows):
            with self._client.pipeline(transaction=True) as pipeline:
                packed = {entity_id: pack(rows[entity_id]) for entity_id in batch}
                known = {entity_id: revisions[entity_id] for entity_id in batch}
                pipeline.hset(self._features(view), mapping=packed)
                pipeline.hset(self._revisions(view), mapping=known)
                pipeline.execute()

    def get_many(self, view: str, entity_ids: Sequence[str]) -> dict[str, dict[str, Value]]:
        """Read the values of those of `entity_ids` that the store has."""
        found = {}
        for batch in _batches(entity_ids):
            values = self._client.hmget(self._features(view), batch)
            pairs = zip(batch, values, strict=True)
            found.update({id_: json.loads(packed) for id_, packed in pairs if packed is not None})
        return found

    def revisions(self, view: str) -> dict[str, str]:
        """Read the revision of every entity of `view`."""
        return dict(self._client.hscan_iter(self._revisions(view), count=_BATCH))

    def ids(self, view: str) -> set[str]:
        """Read which entities `view` has."""
        return set(self.revisions(view))

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        """Remove entities, a batch of them at once or not at all."""
        for batch in _batches(entity_ids):
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hdel(self._features(view), *batch)
                pipeline.hdel(self._revisions(view), *batch)
                pipeline.execute()

    def cache_set(self, key: str, value: object, seconds: float) -> None:
        """Keep a JSON value for `seconds`."""
        self._client.set(self._cache(key), pack(value), px=max(1, round(seconds * 1000)))

    def cache_get(self, key: str) -> Any:
        """Return the value kept under `key`; None when there is none or its time is over."""
        packed = self._client.get(self._cache(key))
        return None if packed is None else json.loads(packed)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _features(self, view: str) -> str:
        return f"{self._prefix}:features:{view}"

    def _revisions(self, view: str) -> str:
        return f"{self._prefix}:revisions:{view}"

    def _cache(self, key: str) -> str:
        return f"{self._prefix}:cache:{key}"


def _address(url: str) -> str:
    """Host and port, or the socket, alone: a password can be in many places of a URL."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


def _batches(entity_ids: Iterable[str]) -> Iterator[list[str]]:
    waiting = list(entity_ids)
    for start in range(0, len(waiting), _BATCH):
        yield waiting[start : start + _BATCH]
