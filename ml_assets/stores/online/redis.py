"""Redis, by URL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ml_assets.errors import OutageError, StoreError, first_line
from ml_assets.stores.online.contract import OnlineStore, Value, Values, pack
from ml_assets.stores.patience import until_it_answers

SCHEMES = ("redis", "rediss", "unix")

_FEATURES, _REVISIONS = "ml_assets:features:", "ml_assets:revisions:"
_BATCH = 1000
"""Entities that go to Redis, or come from it, in one round trip."""
_HASHED = 20_000
"""Entities of a view whose content a mark holds: Redis does nothing else while it hashes them."""
_HASH = "return redis.sha1hex(redis.call('dump', KEYS[1]))"


@contextmanager
def open_store(url: str) -> Iterator[OnlineStore]:
    """Open the server at `url`; closed at the end."""
    with _connected(url) as client:
        yield _Redis(client)


@contextmanager
def _connected(url: str) -> Iterator[Any]:
    from redis import Redis, RedisError

    try:
        client = Redis.from_url(
            url, decode_responses=True, socket_connect_timeout=5, socket_timeout=30
        )
    except ValueError:
        # Its text can hold a part of the password.
        raise StoreError(
            "not a Redis URL",
            where="REDIS_URL",
            do="Write redis://user:password@host:6379/0, with / of a password as %2F",
        ) from None
    try:
        with client:
            until_it_answers(lambda: _ping(client, url))
            yield client
    except RedisError as error:
        raise _refusal(error, url) from None


def mark(url: str) -> str:
    """How many entities each view has; of few also a hash over all that Redis holds of them.

    Raises:
        StoreError: it does not answer, or refuses.
    """
    with _connected(url) as client:
        parts: list[tuple[str, int, str]] = []
        for key in sorted(set(client.scan_iter("ml_assets:*", count=_BATCH))):
            length = client.hlen(key)
            content = client.eval(_HASH, 1, key) if length <= _HASHED else ""
            parts.append((key, length, content))
        return repr(parts)


def _ping(client: Any, url: str) -> None:
    from redis import RedisError

    try:
        client.ping()
    except RedisError as error:
        raise _refusal(error, url) from None


def _refusal(error: Exception, url: str) -> StoreError:
    from redis import exceptions

    gone = isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError)
    refused = isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError)
    kind, do = StoreError, "Check that the server is up and the URL is right, or unset it"
    if refused:
        do = "Check user and password in it: redis://user:password@host:6379/0"
    elif gone:
        kind = OutageError
    return kind(f"{_address(url)} cannot be used ({first_line(error)})", where="REDIS_URL", do=do)


class _Redis:
    """Two hashes per view, entity to values and entity to revision.

    A batch of entities is written at once or not at all.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def put_many(self, view: str, rows: Mapping[str, Values], revisions: Mapping[str, str]) -> None:
        for batch in _batches(rows):
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hset(_FEATURES + view, mapping={id_: pack(rows[id_]) for id_ in batch})
                pipeline.hset(_REVISIONS + view, mapping={id_: revisions[id_] for id_ in batch})
                pipeline.execute()

    def get_many(self, view: str, entity_ids: Sequence[str]) -> dict[str, dict[str, Value]]:
        rows = {}
        for batch in _batches(entity_ids):
            pairs = zip(batch, self._client.hmget(_FEATURES + view, batch), strict=True)
            rows.update({id_: json.loads(packed) for id_, packed in pairs if packed is not None})
        return rows

    def views(self) -> list[str]:
        keys = self._client.scan_iter(f"{_REVISIONS}*", count=_BATCH)
        return sorted({key.removeprefix(_REVISIONS) for key in keys})

    def revisions(self, view: str) -> dict[str, str]:
        return dict(self._client.hscan_iter(_REVISIONS + view, count=_BATCH))

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        for batch in _batches(entity_ids):
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hdel(_FEATURES + view, *batch)
                pipeline.hdel(_REVISIONS + view, *batch)
                pipeline.execute()


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
