"""Redis, by URL: a server, or a cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple
from zlib import crc32

from ml_assets.stores.online.contract import (
    OnlineStore,
    Reading,
    Row,
    overtaken,
    pack,
    reading,
    unpacked,
)
from ml_assets.stores.redis import SCHEMES, connected

__all__ = ["SCHEMES", "mark", "open_store"]

_BATCH = 1000
"""Entities that go to Redis, or come from it, in one round trip."""
_HASHED = 20_000
"""Entities of a bucket whose content a mark holds: Redis does nothing else while it hashes them."""
_HASH = "return redis.sha1hex(redis.call('dump', KEYS[1]))"
_OF_A_BUCKET = 10_000
"""Entities: buckets lie on different nodes, and no one of them holds a node up."""
_MOST_BUCKETS = 1024
_READ_ON = 60
"""Seconds for which a build stays after another took its place, for those who read it just now."""
_UNFINISHED = 3600
"""Seconds after which Redis forgets a build whose writer was killed."""

# What is begun, read and retired of a view changes at once. ARGV: the buckets of a new build.
_BEGIN = """
local old = redis.call('hmget', KEYS[1], 'begun', 'retired')
local build = redis.call('hincrby', KEYS[1], 'last', 1) .. ':' .. ARGV[1]
redis.call('hdel', KEYS[1], 'retired')
redis.call('hset', KEYS[1], 'begun', build)
return {build, old[1], old[2]}
"""
_PUBLISH = """
if redis.call('hget', KEYS[1], 'begun') ~= ARGV[1] then return 0 end
local old = redis.call('hget', KEYS[1], 'read')
redis.call('hdel', KEYS[1], 'begun')
redis.call('hset', KEYS[1], 'read', ARGV[1])
if old then redis.call('hset', KEYS[1], 'retired', old) end
return 1
"""
_FIRST = """
local build = redis.call('hget', KEYS[1], 'read')
if build then return build end
build = redis.call('hincrby', KEYS[1], 'last', 1) .. ':1'
redis.call('hset', KEYS[1], 'read', build)
return build
"""


class _Build(NamedTuple):
    """A build of a view: its name, which says how many buckets it has, such as `7:12`."""

    view: str
    name: str

    @property
    def buckets(self) -> int:
        return int(self.name.partition(":")[2])

    def key(self, bucket: int) -> str:
        """The hash of a bucket. The part in braces decides which node of a cluster has it."""
        return f"ml_assets:{{{self.view}.{bucket}}}:{self.name.partition(':')[0]}"

    @property
    def bucket_keys(self) -> list[str]:
        return [self.key(bucket) for bucket in range(self.buckets)]

    def by_key(self, entity_ids: Iterable[str]) -> dict[str, list[str]]:
        """The entities of each bucket that has some."""
        count = self.buckets
        chosen: dict[int, list[str]] = defaultdict(list)
        for entity_id in entity_ids:
            chosen[crc32(entity_id.encode()) % count].append(entity_id)
        return {self.key(bucket): ids for bucket, ids in chosen.items()}


@contextmanager
def open_store(url: str) -> Iterator[OnlineStore]:
    """Open the server at `url`; closed at the end."""
    with connected(url) as client:
        yield _Redis(client)


def mark(url: str) -> str:
    """How many entities each bucket of a view has; of few also a hash over all that Redis holds.

    Raises:
        StoreError: it does not answer, or refuses.
    """
    with connected(url) as client:
        parts: list[tuple[str, int, bytes]] = []
        for view, name in sorted(_builds(client).items()):
            for key in _Build(view, name).bucket_keys:
                length = client.hlen(key)
                content = client.eval(_HASH, 1, key) if length <= _HASHED else b""
                parts.append((key, length, content))
        return repr(parts)


class _Redis:
    """A hash for each view, which names its builds, and one for each bucket of a build.

    Of an entity such a hash has the fields `v…`, its row, and `r…`, its revision.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._known: dict[str, str] = {}

    def get_many(
        self, view: str, entity_ids: Sequence[str], now: datetime | None = None
    ) -> Reading:
        name, packed = self._read(view, entity_ids)
        return reading(name, packed, entity_ids, now)

    def get_rows(self, view: str, entity_ids: Sequence[str]) -> dict[str, Row]:
        return unpacked(self._read(view, entity_ids)[1])

    def put_many(self, view: str, rows: Mapping[str, Row]) -> None:
        packed = {id_: (row.revision, pack(row)) for id_, row in rows.items()}
        for batch in _batches(rows):
            wanted = {id_: packed[id_] for id_ in batch}
            while True:
                name = self._client.eval(_FIRST, 1, _head(view)).decode()
                if name == "1:1":
                    _forget_before(self._client, view)
                if self._write(_Build(view, name), wanted) == name:
                    break  # else another build took its place meanwhile

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        if not (name := self._name(view)):
            return
        for batch in _batches(entity_ids):
            with self._client.pipeline(transaction=False) as pipeline:
                for key, ids in _Build(view, name).by_key(batch).items():
                    pipeline.hdel(key, *(f"{kind}{id_}" for id_ in ids for kind in "vr"))
                pipeline.execute()

    def replace(self, view: str, batches: Iterable[Mapping[str, Row]], entities: int) -> None:
        buckets = min(max(-(-entities // _OF_A_BUCKET), 1), _MOST_BUCKETS)
        begun, *left = self._client.eval(_BEGIN, 1, _head(view), buckets)
        for name in filter(None, left):
            self._each("unlink", _Build(view, name.decode()).bucket_keys)
        build = _Build(view, begun.decode())
        for rows in batches:
            packed = {id_: (row.revision, pack(row)) for id_, row in rows.items()}
            for batch in _batches(packed):
                self._write(build, {id_: packed[id_] for id_ in batch}, _UNFINISHED)
        before = self._name(view)
        self._each("persist", build.bucket_keys)
        if not self._publish(build):
            self._each("unlink", build.bucket_keys)
            raise overtaken(view)
        if before:
            self._each("expire", _Build(view, before).bucket_keys, _READ_ON)
        _forget_before(self._client, view)

    def views(self) -> list[str]:
        return [
            view
            for view, name in sorted(_builds(self._client).items())
            if any(self._client.hlen(key) for key in _Build(view, name).bucket_keys)
        ]

    def revisions(self, view: str) -> dict[str, str]:
        if not (name := self._name(view)):
            return {}
        return {
            field[1:].decode(): revision.decode()
            for key in _Build(view, name).bucket_keys
            for field, revision in self._client.hscan_iter(key, match="r*", count=2 * _BATCH)
        }

    def _publish(self, build: _Build) -> bool:
        return bool(self._client.eval(_PUBLISH, 1, _head(build.view), build.name))

    def _name(self, view: str) -> str | None:
        """The name of the build that is read."""
        name = self._client.hget(_head(view), "read")
        return name.decode() if name else None

    def _read(self, view: str, entity_ids: Sequence[str]) -> tuple[str | None, dict[str, bytes]]:
        """The build that is read, and what it has of these entities.

        The one of the last time is asked at once. It was read all the while, if it is still then.
        """
        name = self._known.get(view) or self._name(view)
        while name:
            packed: dict[str, bytes | None] = {}
            for batch in [*_batches(entity_ids)] or [[]]:
                by_key = _Build(view, name).by_key(batch)
                with self._client.pipeline(transaction=False) as pipeline:
                    for key, ids in by_key.items():
                        pipeline.hmget(key, [f"v{id_}" for id_ in ids])
                    # On a cluster it may be read before the rows, which are kept on for that.
                    pipeline.hget(_head(view), "read")
                    *values, head = pipeline.execute()
                for ids, each in zip(by_key.values(), values, strict=True):
                    packed.update(zip(ids, each, strict=True))
                read = head.decode() if head else None
                if read != name:
                    break
            if read == name:
                self._known[view] = name
                return name, {id_: each for id_, each in packed.items() if each is not None}
            name = read
        self._known.pop(view, None)
        return None, {}

    def _write(
        self, build: _Build, packed: Mapping[str, tuple[str, bytes]], seconds: int = 0
    ) -> str | None:
        """Write rows, which end after `seconds`; return the name of the build that is read then."""
        with self._client.pipeline(transaction=False) as pipeline:
            for key, ids in build.by_key(packed).items():
                fields: dict[str, str | bytes] = {}
                for id_ in ids:
                    fields[f"r{id_}"], fields[f"v{id_}"] = packed[id_]
                pipeline.hset(key, mapping=fields)
                if seconds:
                    pipeline.expire(key, seconds)
            pipeline.execute()
        return self._name(build.view)

    def _each(self, command: str, keys: Sequence[str], *values: object) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                getattr(pipeline, command)(key, *values)
            pipeline.execute()


def _head(view: str) -> str:
    return f"ml_assets:{{{view}}}:builds"


def _builds(client: Any) -> dict[str, str]:
    """The name of the build that is read of each view."""
    heads = {key.decode() for key in client.scan_iter("ml_assets:{*}:builds", count=_BATCH)}
    names = {head: client.hget(head, "read") for head in heads}
    return {head.split("{")[1].split("}")[0]: name.decode() for head, name in names.items() if name}


def _forget_before(client: Any, view: str) -> None:
    """Remove what was kept of a view before there were builds."""
    for kind in ("features", "revisions"):
        client.unlink(f"ml_assets:{kind}:{view}")


def _batches(entity_ids: Iterable[str]) -> Iterator[list[str]]:
    waiting = list(entity_ids)
    for start in range(0, len(waiting), _BATCH):
        yield waiting[start : start + _BATCH]
