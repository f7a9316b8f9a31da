"""The folders that embedded stores live in."""

from __future__ import annotations

import os
from pathlib import Path

from ml_assets.errors import StoreError


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


def write_whole(file: Path, text: str) -> None:
    """Write `text` so that a reader, or a crash, finds the old file or the whole new one."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
