"""Files of Dagster and of the home: those in which something is left are written anew.

SQLite loses what its tables and free pages have, and a text the words. What was put aside or left
by a process that died goes as a whole.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ml_assets.operations.copying import remove
from ml_assets.operations.erasure.subject import Place, Removed, Subject
from ml_assets.operations.erasure.traces import find_traces
from ml_assets.operations.erasure.wording import Wording, wording_of
from ml_assets.releases import signing
from ml_assets.stores import mlflow
from ml_assets.stores.folders import (
    DAMAGED,
    SQLITE,
    SQLITE_LOGS,
    open_sqlite,
    vacuum_sqlite,
)

_LEFT = (".tmp", ".partial", ".part", ".new")
_EXTRACTED = "extracted"

Writer = Callable[[Path, bytes], None]
"""Gives a file, which is there, another content."""

_OTHERS = {
    *("chroma", "chdb", "faiss", "keyword", "models", "spool", "postgres", signing.FOLDER),
    *(_EXTRACTED, "offline.duckdb", "online.sqlite", "cache.sqlite", "visits.sqlite", "forgetting"),
}
"""What lies in a home and belongs to a store with an eraser of its own, or holds no document."""


def erase_records(place: Place, subject: Subject) -> list[Removed]:
    """Erase in Dagster's folder: events, tags, and what runs printed."""
    changed = erase_traces(place.settings.dagster_folder, subject, wording_of(subject))
    how = "SQLite was vacuumed, texts were written anew"
    return [Removed("Dagster", "files", len(changed), how)]


def erase_files(place: Place, subject: Subject) -> list[Removed]:
    """Erase in what else lies in the home: logs, extracted texts, and what the dead left."""
    own = [path for path in sorted(place.home.iterdir()) if not _is_of_others(path, place)]
    wording = wording_of(subject)
    changed = [file for path in own for file in erase_traces(path, subject, wording)]
    extracted = place.home / _EXTRACTED
    kept = {extracted / trace.file for trace in find_traces(extracted, subject.marks)}
    for path in [*kept, *place.home.rglob(f"*{DAMAGED}*")]:  # made anew, or read by nobody
        changed.append(path)
        remove(path)
    return [Removed("files of the home", "files", len(changed), "written anew, or removed")]


def _is_of_others(path: Path, place: Place) -> bool:
    name = path.name.removesuffix("-wal").removesuffix("-shm").removesuffix(".wal")
    return name in _OTHERS or path in (place.home / mlflow.FOLDER, place.settings.dagster_folder)


def _overwrite(file: Path, content: bytes) -> None:
    """Write into the same file, which another process may have open to append to it."""
    with file.open("r+b") as opened:
        opened.write(content)
        opened.truncate()
        opened.flush()
        os.fsync(opened.fileno())


def erase_traces(
    folder: Path, subject: Subject, wording: Wording, write: Writer = _overwrite
) -> list[Path]:
    """Write every file anew that has a mark; return those that were."""
    if not folder.exists():
        return []
    if folder.is_file():
        return [folder] if _erase_file(folder, wording, write) else []
    found = dict.fromkeys(trace.file for trace in find_traces(folder, subject.marks))
    # The log of a database of SQLite is written with it.
    names = dict.fromkeys(_database(name) for name in found)
    files = [folder / name for name in names]
    return [file for file in files if _erase_file(file, wording, write)]


def _database(name: str) -> str:
    for ending in SQLITE_LOGS:
        name = name.removesuffix(ending)
    return name


def _erase_file(file: Path, wording: Wording, write: Writer) -> bool:
    """Write a file anew without what is to go; False: it has nothing of it, or is no text."""
    if not file.is_file() or file.is_symlink():
        return False
    if file.name.endswith(_LEFT):
        file.unlink()
        return True
    content = file.read_bytes()
    if content.startswith(SQLITE):
        _erase_sqlite(file, wording)
        return True
    with suppress(UnicodeDecodeError):
        text = content.decode()
        if (new := wording.without(text)) != text:
            write(file, new.encode())
            return True
    return False


def _erase_sqlite(file: Path, wording: Wording) -> None:
    """Take the words out of all tables, then write the file anew and empty its log."""
    with open_sqlite(file) as connection:
        connection.execute("begin immediate")
        for table, column in _columns(connection):
            _erase_column(connection, table, column, wording)
        connection.execute("commit")
        vacuum_sqlite(connection)


def _columns(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
    return [
        (table, column)
        for (table,) in tables
        if not table.startswith("sqlite_")
        for _, column, *_ in connection.execute(f'pragma table_info("{table}")').fetchall()
    ]


def _erase_column(
    connection: sqlite3.Connection, table: str, column: str, wording: Wording
) -> None:
    query = f'select rowid, "{column}" from "{table}" where typeof("{column}") = \'text\''  # noqa: S608
    update = f'update "{table}" set "{column}" = ? where rowid = ?'  # noqa: S608
    changed = [
        (new, row) for row, old in connection.execute(query) if (new := wording.without(old)) != old
    ]
    connection.executemany(update, changed)
