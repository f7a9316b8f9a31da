"""Copies of the folders of a home, whatever store they belong to, while it is read."""

from __future__ import annotations

import glob
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ml_assets.errors import StoreError
from ml_assets.stores.folders import SQLITE, SQLITE_LOGS, folder
from ml_assets.stores.processes import process_exists

_ATTEMPTS = 5
_PARTIAL = ".partial"


@contextmanager
def whole_folder(path: Path, leave: Callable[[Path], None] = lambda left: None) -> Iterator[Path]:
    """Fill a folder under another name; it gets its own when the block has ended well.

    What a killed process left behind is removed. `leave` is called before a folder that is not to
    stay is removed.

    Raises:
        StoreError: there is something under its name, or the folder cannot be written.
    """
    parent = folder(path.parent)
    partial = parent / f"{path.name}.{os.getpid()}{_PARTIAL}"
    try:
        for left in parent.glob(f"{glob.escape(path.name)}.*{_PARTIAL}"):
            pid = left.name.removesuffix(_PARTIAL).rpartition(".")[2]
            if pid.isdecimal() and not process_exists(int(pid)):
                leave(left)
                shutil.rmtree(left)
        partial.mkdir(mode=0o700)
        yield partial
        os.sync()  # or a computer that loses power keeps the name without the content
        partial.rename(path)
        os.sync()
    except OSError as error:
        raise StoreError(
            f"cannot be read or written ({error.strerror})",
            where=str(error.filename or path),
            do="Free space, change its permissions, or choose another folder",
        ) from None
    finally:
        if partial.exists():
            leave(partial)
            shutil.rmtree(partial, ignore_errors=True)


def copy_still(source: Path, target: Path) -> None:
    """Copy a file or a folder that nobody writes, and see by its files that nobody did.

    Raises:
        StoreError: somebody writes it, again and again, or a SQLite file in it is damaged.
    """
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):  # one of its files went meanwhile
            before = _seen(source)
            copy(source, target)
            if _seen(source) == before:
                return
        remove(target)
    raise StoreError(
        "another program writes it", where=str(source), do="Try again when that has ended"
    )


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder, with the times of its files; SQLite by its own means.

    A relative link stays one; of another its target is copied. What is neither file nor folder, as
    a socket, is left out.
    """
    if source.is_symlink() and not source.readlink().is_absolute():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir(mode=0o700)
        for each in sorted(source.iterdir()):
            if not each.name.endswith(SQLITE_LOGS):
                copy(each, target / each.name)
    elif source.is_file():
        stat = source.stat()
        if _is_sqlite(source):
            _copy_sqlite(source, target)
        else:
            shutil.copyfile(source, target)
        target.chmod(0o600)
        os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _copy_sqlite(source: Path, target: Path) -> None:
    """In one transaction, with what a write-ahead log beside it holds."""
    try:
        with (
            closing(sqlite3.connect(source, timeout=60)) as read,
            closing(sqlite3.connect(target)) as written,
        ):
            read.backup(written)
            (verdict,) = written.execute("pragma quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict.splitlines()[-1])
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"it cannot be copied ({error})",
            where=str(source),
            do="Free space on the disk of the backup, or end the program that holds the file",
        ) from None
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"it is damaged ({error})",
            where=str(source),
            do="Move it away and run `ml-assets run`, which builds it again",
        ) from None


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as opened:
        return opened.read(len(SQLITE)) == SQLITE


def _seen(path: Path) -> list[tuple[str, int, int]]:
    """Path, size and time of every file, in order; SQLite, whose copy is whole, is left out."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sorted(
        (str(file), stat.st_size, stat.st_mtime_ns)
        for file in files
        if file.is_file() and not file.name.endswith(SQLITE_LOGS) and not _is_sqlite(file)
        for stat in [file.stat()]
    )
