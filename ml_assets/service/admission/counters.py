"""Counters in the online store, by the interface of the library `limits`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limits.errors import StorageError
from limits.storage import RedisStorage, Storage

from ml_assets.errors import StoreError, first_line
from ml_assets.stores.online import redis, sqlite

_ADD = (
    "insert into counters values (?1, ?2, ?3) on conflict (name) do update"
    " set amount = case when expires_at <= ?4 then ?2 else amount + ?2 end,"
    " expires_at = case when expires_at <= ?4 then ?3 else expires_at end"
    " returning amount"
)


@contextmanager
def open_counters(url: str | None, home: Path) -> Iterator[Storage]:
    """The counters of the store at `url`, or of the SQLite file of the home.

    Raises:
        StoreError: the store cannot be opened.
        limits.errors.StorageError: at a call, it does not answer.
    """
    if url and url.partition("://")[0] in redis.SCHEMES:
        storage = RedisStorage(
            url,
            wrap_exceptions=True,
            key_prefix="ml_assets:rates",
            socket_connect_timeout=1,
            socket_timeout=1,
        )
        try:
            yield storage
        finally:
            storage.storage.close()
        return
    with sqlite.open_visits(home) as connection:
        yield SqliteStorage(connection)


def obstacle(url: str | None, home: Path) -> str:
    """Why nothing can be counted; empty: it can be, as one count shows."""
    try:
        with open_counters(url, home) as storage:
            storage.incr("ready", 60)
    except (StorageError, StoreError) as error:
        return error.reason if isinstance(error, StoreError) else first_line(error)
    return ""


class SqliteStorage(Storage):
    """A row per window; expired ones go with each hundredth count."""

    STORAGE_SCHEME = None

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Count in the table `counters` of a connection, which is its owner's."""
        super().__init__(wrap_exceptions=True)
        self._connection = connection
        self._counted = 0

    @property
    def base_exceptions(self) -> type[Exception]:
        """What a failure of the store is."""
        return sqlite3.Error

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter, which begins anew when its window has ended."""
        now = time.time()
        self._counted += 1
        if self._counted % 100 == 1:
            self._connection.execute("delete from counters where expires_at <= ?", [now])
        rows = self._connection.execute(_ADD, [key, amount, now + expiry, now]).fetchall()
        return int(rows[0][0])

    def get(self, key: str) -> int:
        """The count of the present window."""
        return int(self._value("amount", key) or 0)

    def get_expiry(self, key: str) -> float:
        """When the present window ends, in seconds since 1970."""
        return self._value("expires_at", key) or time.time()

    def check(self) -> bool:
        """Whether the store answers."""
        self._connection.execute("select 1 from counters limit 1")
        return True

    def reset(self) -> int | None:
        """Forget all counters; return how many there were."""
        return self._connection.execute("delete from counters").rowcount

    def clear(self, key: str) -> None:
        """Forget a counter."""
        self._connection.execute("delete from counters where name = ?", [key])

    def _value(self, column: str, key: str) -> float | None:
        query = f"select {column} from counters where name = ? and expires_at > ?"  # noqa: S608
        row = self._connection.execute(query, [key, time.time()]).fetchone()
        return row[0] if row else None
