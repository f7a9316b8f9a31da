"""A cache in a file of SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ml_assets.errors import DamagedStoreError
from ml_assets.stores.cache.contract import Cache, Clock, checked, opened, sealed
from ml_assets.stores.folders import SQLITE_PATIENCE, refusal, vacuum_sqlite
from ml_assets.stores.sql import statement, statements

SCHEMES = ("sqlite",)

MOST = 50_000
"""Values of a file: the ones written first go when there are more."""

_WAIT = 0.25
"""Seconds that a writer waits for another."""


@contextmanager
def open_cache(url: str, clock: Clock) -> Iterator[Cache]:
    """Open the file of `sqlite://<path>`, whose folder must be there; closed at the end."""
    path = Path(url.removeprefix("sqlite://"))
    try:
        with closing(
            sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        ) as connection:
            connection.execute("pragma journal_mode = wal")
            # What a machine that stops loses or tears is told by its checksum, and made again.
            connection.execute("pragma synchronous = off")
            for text in statements(statement("sqlite/cache/create")):
                connection.execute(text)
            yield _Sqlite(connection, clock)
    except sqlite3.DatabaseError as error:
        explained = refusal(path, "the cache", error)
        if isinstance(explained, DamagedStoreError):
            for ending in ("", "-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
        raise explained from None


class _Sqlite:
    """One table; each call is one transaction."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        asked = json.dumps(list(map(checked, keys)))
        rows = self._connection.execute(statement("sqlite/cache/read"), [asked]).fetchall()
        now = self._clock()
        values = {key: opened(stored, now) for key, stored in rows}
        return {key: value for key, value in values.items() if value is not None}

    def put_many(self, values: Mapping[str, bytes], seconds: float) -> None:
        now = self._clock()
        stored = sealed(values, seconds, now)
        rows = [(key, round((now + seconds) * 1e6), each) for key, each in stored.items()]
        if not rows:
            return
        self._connection.execute("begin immediate")
        with self._connection:
            self._connection.executemany(statement("sqlite/cache/write"), rows)
            self._connection.execute(statement("sqlite/cache/forget_ended"), [round(now * 1e6)])
            self._connection.execute(statement("sqlite/cache/forget_first"), [MOST])

    def clear(self) -> bool:
        """Others may write for longer than a value is waited for."""
        self._connection.execute(f"pragma busy_timeout = {int(SQLITE_PATIENCE * 1000)}")
        self._connection.execute("delete from cache")
        vacuum_sqlite(self._connection)
        return True

    def delete_many(self, keys: Sequence[str]) -> None:
        asked = json.dumps(list(map(checked, keys)))
        self._connection.execute(statement("sqlite/cache/forget"), [asked])
