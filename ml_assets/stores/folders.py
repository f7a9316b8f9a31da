"""The folders that embedded stores live in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_assets.errors import StoreError, first_line


def folder(path: Path) -> Path:
    """Create a folder with its parents, and say who is in the way when that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot create the folder ({error.strerror})",
            where=str(path),
            do="Free space, change its permissions, or set ML_ASSETS_HOME to another folder",
        ) from None
    return path


@contextmanager
def usable(path: Path, what: str, *errors: type[Exception]) -> Iterator[None]:
    """Explain the errors of a store whose folder can be built again."""
    try:
        yield
    except errors as error:
        raise StoreError(
            f"{what} cannot be used ({first_line(error)})",
            where=str(path),
            do="Check the disk; a damaged folder can be deleted, and is rebuilt",
        ) from None


def write_whole(file: Path, text: str) -> None:
    """Write `text` so that a reader, or a crash, finds the old file or the whole new one."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
