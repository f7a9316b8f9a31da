"""SQLite, embedded: one file under the home."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ml_assets.errors import DamagedStoreError
from ml_assets.stores.folders import (
    folder,
    open_sqlite,
    put_aside,
    refusal,
    vacuum_sqlite,
)
from ml_assets.stores.migrations import migrate
from ml_assets.stores.online.contract import (
    OnlineStore,
    Reading,
    Row,
    overtaken,
    pack,
    reading,
    unpacked,
)
from ml_assets.stores.sql import statement, statements

SCHEMES = ("sqlite",)

_CACHE = 32 * 1024
"""KiB of pages that a connection keeps, at most; SQLite's own 2 MiB are a tenth of a large view."""

VISITS = "visits.sqlite"
"""Counters and sessions of the service, in the home. They are in no backup."""


@contextmanager
def open_store(url: str) -> Iterator[OnlineStore]:
    """Open the file of `sqlite://<path>`; closed at the end."""
    with open_file(url) as connection:
        yield _Sqlite(connection)


@contextmanager
def open_file(url: str) -> Iterator[sqlite3.Connection]:
    """A migrated connection to the file of `sqlite://<path>`, in autocommit; closed at the end."""
    path = Path(url.removeprefix("sqlite://"))
    with _opened(path, "the online store") as connection:
        migrate("sqlite", connection, str(path), transaction)
        yield connection


def settle(path: Path) -> None:
    """Move what is in the log into the file, where there is one; a damaged one is left alone."""
    with suppress(sqlite3.DatabaseError), closing(_existing(path)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")


def purge(path: Path) -> None:
    """Remove the builds that nobody reads, and write the file anew."""
    with open_sqlite(path) as connection:
        for text in statements(statement("sqlite/online/forget_all_unread")):
            connection.execute(text)
        vacuum_sqlite(connection)


def _existing(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=1)


@contextmanager
def open_visits(home: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the counters and sessions of the service, in autocommit; closed at the end.

    They have a file of their own: what the online store holds is made by runs alone.
    """
    with _opened(home / VISITS, "the file of counters and sessions") as connection:
        for text in statements(statement("sqlite/visits/create")):
            connection.execute(text)
        yield connection


@contextmanager
def _opened(path: Path, what: str) -> Iterator[sqlite3.Connection]:
    folder(path.parent)
    try:
        # It is used by one thread at a time, not always by the same one.
        opened = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        with closing(opened) as connection:
            # Write-ahead log: readers do not wait for the writer.
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            connection.execute(f"pragma cache_size = -{_CACHE}")
            yield connection
    except sqlite3.DatabaseError as error:
        explained = refusal(path, what, error)
        if isinstance(explained, DamagedStoreError):
            explained = put_aside(explained, "-wal", "-shm")  # it is made again
        raise explained from None


class _Sqlite:
    """A table of builds, and one of all their rows; each batch is written in one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get_many(
        self, view: str, entity_ids: Sequence[str], now: datetime | None = None
    ) -> Reading:
        build, packed = self._read(view, entity_ids)
        return reading(None if build is None else str(build), packed, entity_ids, now)

    def get_rows(self, view: str, entity_ids: Sequence[str]) -> dict[str, Row]:
        return unpacked(self._read(view, entity_ids)[1])

    def put_many(self, view: str, rows: Mapping[str, Row]) -> None:
        packed = [(id_, row.revision, pack(row)) for id_, row in rows.items()]
        with transaction(self._connection):
            build = self._build_of(view)
            if build is None:
                build = self._begin(view)
                self._execute("publish", build)
            self._write(build, packed)

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        with transaction(self._connection):
            self._connection.executemany(
                statement("sqlite/online/delete_rows"),
                [(view, entity_id) for entity_id in entity_ids],
            )

    def replace(self, view: str, batches: Iterable[Mapping[str, Row]], entities: int) -> None:
        with transaction(self._connection):
            self._forget_unread(view)
            build = self._begin(view)
        for batch in batches:
            packed = [(id_, row.revision, pack(row)) for id_, row in batch.items()]
            with transaction(self._connection):
                self._check(view, build)
                self._write(build, packed)
        self._publish(view, build)
        with transaction(self._connection):
            self._forget_unread(view)

    def views(self) -> list[str]:
        return [view for (view,) in self._execute("views")]

    def revisions(self, view: str) -> dict[str, str]:
        return dict(self._execute("revisions", view))

    def _publish(self, view: str, build: int) -> None:
        with transaction(self._connection):
            self._check(view, build)
            self._execute("retire", view)
            self._execute("publish", build)

    def _read(self, view: str, entity_ids: Sequence[str]) -> tuple[int | None, dict[str, bytes]]:
        """The build that is read, and what it has of these entities, in one snapshot."""
        stored = self._execute("read", json.dumps(list(entity_ids)), view)
        packed = {
            id_: row if isinstance(row, bytes) else _repacked(revision, row)
            for _, id_, revision, row in stored
            if id_ is not None
        }
        return stored[0][0] if stored else None, packed

    def _build_of(self, view: str) -> int | None:
        return next((build for (build,) in self._execute("read_build", view)), None)

    def _begin(self, view: str) -> int:
        number = self._connection.execute(statement("sqlite/online/begin_build"), [view]).lastrowid
        return int(number or 0)

    def _check(self, view: str, build: int) -> None:
        if not self._execute("is_there", build):
            raise overtaken(view)

    def _forget_unread(self, view: str) -> None:
        self._execute("forget_rows", view)
        self._execute("forget_builds", view)

    def _write(self, build: int, packed: Sequence[tuple[str, str, bytes]]) -> None:
        rows = ((build, *values) for values in packed)
        self._connection.executemany(statement("sqlite/online/write"), rows)

    def _execute(self, name: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement(f"sqlite/online/{name}"), values).fetchall()


def _repacked(revision: str, text: str) -> bytes:
    """A row of the time before builds, which is JSON without an end, as rows are now."""
    try:
        return pack(Row(json.loads(text), revision))
    except (ValueError, AttributeError):
        return b""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block wrote, or roll all of it back on an error."""
    connection.execute("begin immediate")
    # As a context manager a connection commits, or rolls back on an error; it stays open.
    with connection:
        yield
