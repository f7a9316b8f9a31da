"""Whether files were written since, as their file system tells it: only then are bytes hashed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TAGS = (
    *("ETag", "etag", "md5Hash", "content_md5", "crc32c", "checksum", "generation", "VersionId"),
)
_TELLING = (*_TAGS, "LastModified", "Last-Modified", "last_modified", "updated", "mtime")
"""The entries of fsspec's `info` that change when the file is written, of several file systems; a
tag does so at once, a time with the next tick of its clock."""

Info = Mapping[str, Any]
"""What a listing says of a file."""

_SETTLED_NANOSECONDS = 2_000_000_000
"""A local file that was written later may be written again within the same tick of its clock."""

_PIECE = 1 << 20
_MOST = 100_000
_hashes: dict[tuple[str, str], bytes] = {}
"""The hashes of files of this process, by path and stamp."""


def stamp(filesystem: Any, path: str, listed: Info | None = None) -> str | None:
    """A word that is another one once the file was written; None where nothing tells that.

    Of a local file these are size, identity and times; of others their tag, checksum or version,
    as they were `listed`, or else are asked for.
    """
    if is_local(filesystem):
        return file_stamp(Path(path))
    return _told(filesystem.info(path) if listed is None else listed, _TELLING)


def fingerprint(filesystem: Any, path: str, listed: Info | None = None) -> str:
    """The tag by which an object store tells contents apart, or else the hash of the bytes."""
    tag = None if listed is None else _told(listed, _TAGS)
    return tag or content_hash(filesystem, path).hex()


def _told(info: Info, keys: tuple[str, ...]) -> str | None:
    told = [f"{key}={info[key]}" for key in keys if info.get(key)]
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
        and (not is_local(filesystem) or is_settled(Path(path)))
    ):
        if len(_hashes) >= _MOST:
            _hashes.clear()
        _hashes[path, seen] = digest.digest()
    return digest.digest()


def is_local(filesystem: Any) -> bool:
    """Whether its paths are those of this machine."""
    return "file" in filesystem.protocol
