"""The folders that embedded stores live in."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ml_assets.errors import DamagedStoreError, StoreError, first_line

_DAMAGE = re.compile(
    r"corrupt|malformed|not a database|not a valid DuckDB|read enough bytes|no such table"
    r"|InvalidData|FileDoesNotExist|hnsw|finding id|read error in|read_index",
    re.IGNORECASE,
)
"""What libraries say of files that were cut, altered or removed, and of nothing else."""

_QUERY = re.compile(
    r"too many (SQL )?variables|expression tree is too large|parser stack overflow"
    r"|too many (terms|clauses|values)|(query|string or blob|statement) (is )?too (big|large|long)"
    r"|validation error|invalid where|invalid argument",
    re.IGNORECASE,
)
"""What they say of a query that they do not take, while their files are whole."""


SQLITE = b"SQLite format 3\0"
"""What a file of SQLite begins with."""

SQLITE_LOGS = ("-wal", "-shm", "-journal")
"""What the names of files end with that SQLite keeps beside a database."""

SQLITE_PATIENCE = 60.0
"""Seconds to wait for who reads or writes a file of SQLite that is written anew."""

DAMAGED = ".damaged"
"""What the name of a file ends with that was put aside: no store reads it."""


def folder(path: Path) -> Path:
    """Create a folder with its parents, for its owner alone, and say who is in the way."""
    try:
        # Not for `mkdir`, which makes the parents for everybody.
        for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        if not path.is_dir():
            raise NotADirectoryError(0, "there is a file of this name")
    except OSError as error:
        raise StoreError(
            f"cannot create the folder ({error.strerror})",
            where=str(path),
            do="Free space, change its permissions, or set ML_ASSETS_HOME to another folder",
        ) from None
    return path


def private_home(home: Path) -> Path:
    """Create the folder of all embedded stores, and once close it, with all in it, to others.

    One that holds other people's files, and no store yet, keeps its permissions.
    """
    marker = folder(home) / "postgres.lock"
    if marker.exists() or home.stat().st_uid != os.geteuid():
        return home
    if (home / "postgres").exists() or not any(home.iterdir()):
        for parent, folders, files in os.walk(home):
            folders[:] = [name for name in folders if name != "postgres"]  # closed already
            for path in (Path(parent), *(Path(parent, name) for name in files)):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode & 0o700)
    return home


@contextmanager
def usable(path: Path, what: str, *errors: type[Exception]) -> Iterator[None]:
    """Explain the errors of a store whose folder can be built again."""
    try:
        yield
    except errors as error:
        raise refusal(path, what, error) from None


def refusal(path: Path, what: str, error: Exception) -> StoreError:
    """The error of a store that the error of its library means, by the words of that.

    One of the query says nothing of the disk.
    """
    if of_query := query_refusal(what, str(path), error):
        return of_query
    if _DAMAGE.search(str(error).replace(str(path), "")):
        return DamagedStoreError(f"{what} is damaged ({first_line(error)[:200]})", path)
    return StoreError(
        f"{what} cannot be used ({first_line(error)})",
        where=str(path),
        do="Check the permissions of the folder and the space on its disk",
    )


def put_aside(damaged: DamagedStoreError, *logs: str) -> DamagedStoreError:
    """Rename a damaged file, with its logs of these endings, so that the next try makes another."""
    path = damaged.path
    aside = path.with_name(path.name + DAMAGED)
    for ending in ("", *logs):
        file = path.with_name(path.name + ending)
        if file.exists():
            file.replace(aside.with_name(aside.name + ending))
    return DamagedStoreError(damaged.what, path, aside)


def query_refusal(what: str, where: str, error: Exception) -> StoreError | None:
    """The error of a store that does not take a query; None if the error is another one."""
    if not _QUERY.search(str(error)):
        return None
    return StoreError(
        f"{what} does not take this query ({first_line(error)[:200]})",
        where=where,
        do="Ask for less at a time: fewer values or terms in the filter",
    )


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old one or the whole new one.

    A text is written in UTF-8. The file is for its owner alone.
    """
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content.encode() if isinstance(content, str) else content)
            opened.flush()
            os.fsync(
                descriptor
            )  # or a computer that loses power keeps the name without the content
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def open_sqlite(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file that is there, in autocommit, that waits; closed at the end.

    Raises:
        StoreError: it is locked for too long, or damaged.
    """
    uri = f"{file.absolute().as_uri()}?mode=rw"
    try:
        with closing(
            sqlite3.connect(uri, uri=True, timeout=SQLITE_PATIENCE, isolation_level=None)
        ) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"it cannot be written anew ({first_line(error)})",
            where=str(file),
            do="End the program that holds it, and run again",
        ) from None


def vacuum_sqlite(connection: sqlite3.Connection) -> None:
    """Write a file of SQLite anew, without a byte of what was deleted; readers read on.

    A write-ahead log is moved into it and emptied, for which it waits till nobody reads from that.

    Raises:
        sqlite3.OperationalError: it is locked for longer than the connection waits.
    """
    connection.execute("vacuum")
    (busy, *_) = connection.execute("pragma wal_checkpoint(truncate)").fetchone()
    if busy:
        raise sqlite3.OperationalError("somebody reads from its write-ahead log all the time")
