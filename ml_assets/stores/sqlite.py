"""SQLite, whatever store keeps a file of it: writing it anew, without a byte of what was deleted.

Not here: what is in such a file (`cache`, `online`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ml_assets.errors import StoreError, first_line
from ml_assets.stores.file_locks import wait_for

PATIENCE = 60.0
"""Seconds to wait for who reads or writes the file."""


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file that is there, in autocommit; closed at the end.

    Raises:
        StoreError: it is locked for too long, or damaged.
    """
    uri = f"{file.absolute().as_uri()}?mode=rw"
    try:
        with closing(
            sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None)
        ) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"it cannot be written anew ({first_line(error)})",
            where=str(file),
            do="End the program that holds it, and run again",
        ) from None


def vacuum(connection: sqlite3.Connection) -> None:
    """Write the file anew from what is in it; readers read on, and then see the new one.

    A write-ahead log is moved into it and emptied, which waits for who reads from it.

    Raises:
        sqlite3.OperationalError: it is locked for longer than the connection waits, or `PATIENCE`.
    """
    connection.execute("vacuum")

    def is_emptied() -> bool:
        (busy, _, _) = connection.execute("pragma wal_checkpoint(truncate)").fetchone()
        return not busy

    if not wait_for(is_emptied, PATIENCE):
        raise sqlite3.OperationalError("somebody reads from its write-ahead log all the time")
