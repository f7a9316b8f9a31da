"""Whether files were written since, as their file system tells it: only then are bytes hashed."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

_TELLING = (
    *("ETag", "etag", "md5Hash", "content_md5", "crc32c", "checksum", "generation", "VersionId"),
    *("LastModified", "Last-Modified", "last_modified", "updated", "mtime"),
)
"""The entries of fsspec's `info` that change when the file is written, of several file systems."""

_SETTLED_NANOSECONDS = 2_000_000_000
"""A local file that was written later may be written again within the same tick of its clock."""

_PIECE = 1 << 20
_MOST = 100_000
_hashes: dict[tuple[str, str], bytes] = {}
"""The hashes of files of this process, by path and stamp."""


def stamp(filesystem: Any, path: str) -> str | None:
    """A word that is another one once the file was written; None where nothing tells that.

    Of a local file these are size, identity and times; of others their tag, checksum or version.
    """
    if _is_local(filesystem):
        return file_stamp(Path(path))
    info = filesystem.info(path)
    told = [f"{key}={info[key]}" for key in _TELLING if info.get(key)]
    return f"{info.get('size')} {' '.join(told)}" if told else None


def file_stamp(file: Path) -> str:
    """A word that is another one once a local file was written."""
    stat = file.stat()
    return f"{stat.st_dev} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def is_settled(file: Path) -> bool:
    """Whether a local file that is written now gets another stamp."""
    stat = file.stat()
    return time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED_NANOSECONDS


def content_hash(filesystem: Any, path: str) -> bytes:
    """The sha256 of the bytes of the file, which are read once as long as its stamp stays."""
    seen = stamp(filesystem, path)
    if seen and (known := _hashes.get((path, seen))):
        return known
    digest = hashlib.sha256()
    with filesystem.open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    if (
        seen
        and seen == stamp(filesystem, path)
        and (not _is_local(filesystem) or is_settled(Path(path)))
    ):
        if len(_hashes) >= _MOST:
            _hashes.clear()
        _hashes[path, seen] = digest.digest()
    return digest.digest()


def _is_local(filesystem: Any) -> bool:
    return "file" in filesystem.protocol
