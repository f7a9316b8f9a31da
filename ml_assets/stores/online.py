"""The online store: latest feature values by entity, and caches; SQLite embedded or Redis by URL.

Values travel as JSON: numbers keep their type and every digit.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from ml_assets.errors import StoreError
from ml_assets.stores.folders import folder
from ml_assets.stores.migrations import LEDGER, RECORD, Migration, find_pending
from ml_assets.stores.sql import statements

Value = int | float | bool | str | None
Values = Mapping[str, Value]

_BATCH = 1000
"""Entities that go to Redis, or come from it, in one round trip."""


class OnlineStore(Protocol):
    """What both stores do. A `view` is a key with its version, such as `document_text_v1`."""

    def put_many(self, view: str, rows: Mapping[str, Values], revisions: Mapping[str, str]) -> None:
        """Write the values of entities, each with a revision that tells one state from another."""

    def get_many(self, view: str, entity_ids: Sequence[str]) -> dict[str, dict[str, Value]]:
        """Read the values of those of `entity_ids` that the store has."""

    def revisions(self, view: str) -> dict[str, str]:
        """Read the revision of every entity of `view`."""

    def ids(self, view: str) -> set[str]:
        """Read which entities `view` has."""

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        """Remove entities; one that is not there is no mistake."""

    def cache_set(self, key: str, value: object, seconds: float) -> None:
        """Keep a JSON value under `key` for `seconds`, in place of what was there."""

    def cache_get(self, key: str) -> Any:
        """Return the value kept under `key`; None when there is none or its time is over."""


@contextmanager
def connect(url: str | None, home: Path) -> Iterator[OnlineStore]:
    """Open the Redis server of `url`, or the SQLite file under `home`; closed at the end.

    Raises:
        StoreError: the server cannot be reached or refuses, the file cannot be opened or written.
    """
    with _redis(url) if url else _sqlite(home / "online.sqlite") as store:
        yield store


@contextmanager
def _sqlite(path: Path) -> Iterator[OnlineStore]:
    folder(path.parent)
    try:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            store = SqliteOnlineStore(connection)
            migrate(connection, str(path))
            yield store
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"cannot be used ({error})",
            where=str(path),
            do="Check its permissions and the disk, or remove it: it is only a copy",
        ) from None


@contextmanager
def _redis(url: str) -> Iterator[OnlineStore]:
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


def _address(url: str) -> str:
    """Host and port, or the socket, alone: a password can be in many places of a URL."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


class SqliteOnlineStore:
    """One SQLite file in WAL: readers do not wait for the writer."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = normal")

    def put_many(self, view: str, rows: Mapping[str, Values], revisions: Mapping[str, str]) -> None:
        """Write the values of entities, in one transaction."""
        packed = ((view, id_, revisions[id_], _pack(values)) for id_, values in rows.items())
        with transaction(self._connection):
            self._connection.executemany(
                "insert or replace into online_features values (?, ?, ?, ?)", packed
            )

    def get_many(self, view: str, entity_ids: Sequence[str]) -> dict[str, dict[str, Value]]:
        """Read the values of those of `entity_ids` that the store has."""
        rows = self._connection.execute(
            "select entity_id, features from online_features"
            " where view = ? and entity_id in (select value from json_each(?))",
            [view, json.dumps(list(entity_ids))],
        )
        return {entity_id: json.loads(packed) for entity_id, packed in rows}

    def revisions(self, view: str) -> dict[str, str]:
        """Read the revision of every entity of `view`."""
        return dict(
            self._connection.execute(
                "select entity_id, revision from online_features where view = ?", [view]
            )
        )

    def ids(self, view: str) -> set[str]:
        """Read which entities `view` has."""
        return set(self.revisions(view))

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        """Remove entities, in one transaction."""
        with transaction(self._connection):
            self._connection.executemany(
                "delete from online_features where view = ? and entity_id = ?",
                ((view, entity_id) for entity_id in entity_ids),
            )

    def cache_set(self, key: str, value: object, seconds: float) -> None:
        """Keep a JSON value for `seconds`; what is over goes with the same write."""
        now = time.time()
        with transaction(self._connection):
            self._connection.execute("delete from cache where expires_at <= ?", [now])
            self._connection.execute(
                "insert or replace into cache values (?, ?, ?)", [key, _pack(value), now + seconds]
            )

    def cache_get(self, key: str) -> Any:
        """Return the value kept under `key`; None when there is none or its time is over."""
        row = self._connection.execute(
            "select value from cache where key = ? and expires_at > ?", [key, time.time()]
        ).fetchone()
        return json.loads(row[0]) if row else None


def migrate(connection: sqlite3.Connection, where: str) -> list[str]:
    """Apply the migrations that are missing, in one transaction; return their names."""
    connection.execute(LEDGER)
    if not _pending(connection, where):
        return []
    with transaction(connection):
        # Read again: another process may have been faster.
        pending = _pending(connection, where)
        for migration in pending:
            for part in statements(migration.text):
                connection.execute(part)
            connection.execute(RECORD, [migration.name, migration.checksum])
    return [migration.name for migration in pending]


def _pending(connection: sqlite3.Connection, where: str) -> list[Migration]:
    applied = dict(connection.execute("select name, checksum from migrations"))
    return find_pending("sqlite", applied, where)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block wrote, or roll all of it back on an error."""
    connection.execute("begin immediate")
    # As a context manager a connection commits, or rolls back on an error; it stays open.
    with connection:
        yield


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
                packed = {entity_id: _pack(rows[entity_id]) for entity_id in batch}
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
        self._client.set(self._cache(key), _pack(value), px=max(1, round(seconds * 1000)))

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


def _pack(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _batches(entity_ids: Iterable[str]) -> Iterator[list[str]]:
    waiting = list(entity_ids)
    for start in range(0, len(waiting), _BATCH):
        yield waiting[start : start + _BATCH]
