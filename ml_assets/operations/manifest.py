"""The manifest of a backup: every file with its size and sha256, and what wrote them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from ml_assets.errors import StoreError

FORMAT = 2
"""Of the folder of a backup; a later one may be read only by a later ml_assets."""

NAME = "manifest.json"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """A file of a backup: where it lies in it, its size, its time, and what is in it."""

    path: str
    size: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. `links` are symbolic: path and target; `folders` are all of them.

    `finished`: nobody had written to the home since a run of it ended well.
    """

    format: int
    ml_assets: str
    created_at: str
    finished: bool
    migrations: Sequence[str]
    files: Sequence[File]
    folders: Sequence[str] = ()
    links: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)


def describe(folder: Path, path: Path) -> File:
    """Describe a file as it lies in `folder`."""
    stat = path.stat()
    name = path.relative_to(folder).as_posix()
    return File(name, stat.st_size, stat.st_mtime_ns, hash_file(path))


def hash_file(path: Path) -> str:
    """sha256 of a file, as 64 hex digits."""
    digest = sha256()
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it into the folder of the backup."""
    text = json.dumps(asdict(manifest), indent=1)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a backup.

    Raises:
        StoreError: the folder is no backup, one of a newer ml_assets, or its manifest is damaged.
    """
    file = folder / NAME
    if not file.is_file():
        raise StoreError(
            f"not a backup: there is no {NAME} in it",
            where=str(folder),
            do="Name the folder that `ml-assets backup` wrote",
        )
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        if read["format"] > FORMAT:
            raise _newer(folder, read)
        return _manifest(read)
    except (KeyError, TypeError, ValueError):
        raise damaged(file, "it cannot be read") from None


def refuse_newer(folder: Path, manifest: Manifest, known: Sequence[str]) -> None:
    """Refuse a backup with migrations that are not `known`."""
    if unknown := sorted(set(manifest.migrations) - set(known)):
        raise _newer(folder, asdict(manifest), f", with the migration {unknown[0]}")


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare every file of a backup with its manifest.

    Raises:
        StoreError: a file is missing, or is not what was written.
    """
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file():
            raise damaged(path, "it is missing")
        if path.stat().st_size != file.size:
            raise damaged(path, f"it has {path.stat().st_size:,} bytes of {file.size:,}")
        if hash_file(path) != file.sha256:
            raise damaged(path, "its sha256 is not that of the manifest")


def damaged(path: Path, how: str) -> StoreError:
    """The error of a backup that cannot be restored."""
    return StoreError(
        f"the backup is damaged: {how}", where=str(path), do="Restore another; nothing was written"
    )


def _manifest(read: dict[str, Any]) -> Manifest:
    manifest = Manifest(**{**read, "files": [File(**file) for file in read["files"]]})
    for path in (*(file.path for file in manifest.files), *manifest.folders, *manifest.links):
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts:
            raise ValueError(path)
    return manifest


def _newer(folder: Path, read: dict[str, Any], how: str = "") -> StoreError:
    return StoreError(
        f"it was made by a newer ml_assets ({read['ml_assets']}{how})",
        where=str(folder),
        do="Install that version or a later one",
    )
