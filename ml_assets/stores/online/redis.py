"""Redis, by URL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ml_assets.stores.online.contract import OnlineStore, Value, Values, pack
from ml_assets.stores.redis import SCHEMES, connected

__all__ = ["SCHEMES", "mark", "open_store"]

_FEATURES, _REVISIONS = "ml_assets:features:", "ml_assets:revisions:"
_BATCH = 1000
"""Entities that go to Redis, or come from it, in one round trip."""
_HASHED = 20_000
"""Entities of a view whose content a mark holds: Redis does nothing else while it hashes them."""
_HASH = "return redis.sha1hex(redis.call('dump', KEYS[1]))"


@contextmanager
def open_store(url: str) -> Iterator[OnlineStore]:
    """Open the server at `url`; closed at the end."""
    with connected(url) as client:
        yield _Redis(client)


def mark(url: str) -> str:
    """How many entities each view has; of few also a hash over all that Redis holds of them.

    Raises:
        StoreError: it does not answer, or refuses.
    """
    with connected(url) as client:
        parts: list[tuple[bytes, int, bytes]] = []
        for key in sorted(set(client.scan_iter("ml_assets:*", count=_BATCH))):
            length = client.hlen(key)
            content = client.eval(_HASH, 1, key) if length <= _HASHED else b""
            parts.append((key, length, content))
        return repr(parts)


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
        return sorted({key.decode().removeprefix(_REVISIONS) for key in keys})

    def revisions(self, view: str) -> dict[str, str]:
        pairs = self._client.hscan_iter(_REVISIONS + view, count=_BATCH)
        return {entity_id.decode(): revision.decode() for entity_id, revision in pairs}

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        for batch in _batches(entity_ids):
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.hdel(_FEATURES + view, *batch)
                pipeline.hdel(_REVISIONS + view, *batch)
                pipeline.execute()


def _batches(entity_ids: Iterable[str]) -> Iterator[list[str]]:
    waiting = list(entity_ids)
    for start in range(0, len(waiting), _BATCH):
        yield waiting[start : start + _BATCH]
