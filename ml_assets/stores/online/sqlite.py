"""SQLite, embedded: one file under the home."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ml_assets.errors import DamagedStoreError
from ml_assets.stores.folders import folder, put_aside, refusal
from ml_assets.stores.migrations import migrate
from ml_assets.stores.online.contract import OnlineStore, Value, Values, pack

SCHEMES = ("sqlite",)


@contextmanager
def open_store(url: str) -> Iterator[OnlineStore]:
    """Open the file of `sqlite://<path>`; closed at the end."""
    with open_file(url) as connection:
        yield _Sqlite(connection)


@contextmanager
def open_file(url: str) -> Iterator[sqlite3.Connection]:
    """A migrated connection to the file of `sqlite://<path>`, in autocommit; closed at the end."""
    path = Path(url.removeprefix("sqlite://"))
    folder(path.parent)
    try:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            # Write-ahead log: readers do not wait for the writer.
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            migrate("sqlite", connection, str(path), transaction)
            yield connection
    except sqlite3.DatabaseError as error:
        explained = refusal(path, "the online store", error)
        if isinstance(explained, DamagedStoreError):
            explained = put_aside(explained, "-wal", "-shm")  # it is only a copy
        raise explained from None


class _Sqlite:
    """One table of all views; each call writes in one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put_many(self, view: str, rows: Mapping[str, Values], revisions: Mapping[str, str]) -> None:
        packed = ((view, id_, revisions[id_], pack(values)) for id_, values in rows.items())
        with transaction(self._connection):
            self._connection.executemany(
                "insert or replace into online_features values (?, ?, ?, ?)", packed
            )

    def get_many(self, view: str, entity_ids: Sequence[str]) -> dict[str, dict[str, Value]]:
        rows = self._connection.execute(
            "select entity_id, features from online_features"
            " where view = ? and entity_id in (select value from json_each(?))",
            [view, json.dumps(list(entity_ids))],
        )
        return {entity_id: json.loads(packed) for entity_id, packed in rows}

    def views(self) -> list[str]:
        rows = self._connection.execute("select distinct view from online_features order by view")
        return [view for (view,) in rows]

    def revisions(self, view: str) -> dict[str, str]:
        query = "select entity_id, revision from online_features where view = ?"
        return dict(self._connection.execute(query, [view]))

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        with transaction(self._connection):
            self._connection.executemany(
                "delete from online_features where view = ? and entity_id = ?",
                ((view, entity_id) for entity_id in entity_ids),
            )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block wrote, or roll all of it back on an error."""
    connection.execute("begin immediate")
    # As a context manager a connection commits, or rolls back on an error; it stays open.
    with connection:
        yield
