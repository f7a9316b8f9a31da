"""Sessions: which key a browser has shown, in the online store, for a time.

The cookie has a random id and nothing else; the store has its hash, and the id of the key. So that
a session ends with its key, the key itself is looked up at each request.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ml_assets.stores import redis
from ml_assets.stores.online import sqlite

SECONDS = 12 * 3600
"""For which one need not log in again."""

Clock = Callable[[], float]


class Sessions(Protocol):
    """Ids of keys by name; each is gone after `SECONDS`."""

    def keep(self, name: str, key_id: str) -> None:
        """Begin a session."""

    def find(self, name: str) -> str | None:
        """The id of the key; None: there is no such session, or it has ended."""

    def forget(self, name: str) -> None:
        """End a session; one that is not there is no mistake."""


def new_id() -> str:
    """What nobody guesses."""
    return secrets.token_urlsafe(32)


def name_of(session_id: str) -> str:
    """What a session is called in the store, from which its id cannot be told."""
    return hashlib.sha256(session_id.encode(errors="replace")).hexdigest()


@contextmanager
def open_sessions(url: str | None, home: Path, clock: Clock = time.time) -> Iterator[Sessions]:
    """The sessions in the Redis at `url`, or in the SQLite file of the home.

    Raises:
        StoreError: the store does not answer, or refuses.
    """
    if url:
        with redis.connected(url, connect_seconds=1, answer_seconds=1) as client:
            yield _Redis(client)
    else:
        with sqlite.open_visits(home) as connection:
            yield _Sqlite(connection, clock)


class _Sqlite:
    """A row for each; those that have ended go when another begins."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection, self._clock = connection, clock

    def keep(self, name: str, key_id: str) -> None:
        now = self._clock()
        with sqlite.transaction(self._connection):
            self._connection.execute("delete from sessions where expires_at <= ?", [now])
            values = [name, key_id, now + SECONDS]
            self._connection.execute("insert into sessions values (?, ?, ?)", values)

    def find(self, name: str) -> str | None:
        query = "select key_id from sessions where name = ? and expires_at > ?"
        row = self._connection.execute(query, [name, self._clock()]).fetchone()
        return row[0] if row else None

    def forget(self, name: str) -> None:
        self._connection.execute("delete from sessions where name = ?", [name])


class _Redis:
    """A string for each, which Redis forgets by itself."""

    _PREFIX = "ml_assets_session:"

    def __init__(self, client: Any) -> None:
        self._client = client

    def keep(self, name: str, key_id: str) -> None:
        self._client.set(self._PREFIX + name, key_id, ex=SECONDS)

    def find(self, name: str) -> str | None:
        stored = self._client.get(self._PREFIX + name)
        return stored.decode() if stored else None

    def forget(self, name: str) -> None:
        self._client.delete(self._PREFIX + name)
