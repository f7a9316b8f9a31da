"""The folders that embedded stores live in."""

from __future__ import annotations

from pathlib import Path

from ml_assets.errors import StoreError


def folder(path: Path) -> Path:
    """Create a folder with its parents, and say who is in the way when that fails.

    Raises:
        StoreError: the folder cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot create the folder ({error.strerror})",
            where=str(path),
            do="Free space, change its permissions, or set ML_ASSETS_HOME to another folder",
        ) from None
    return path
