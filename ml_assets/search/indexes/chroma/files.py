"""What the files of a Chroma graph were when they were written.

Chroma reads them in native code: a wrong bit in a link can end the whole process, one in a vector
gives a wrong answer, and neither is told.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from pathlib import Path

_COUNT_AND_SIZE = struct.Struct("<20x2Q")
"""Where the header of a graph has them, after its version, an offset and the room that it has."""
_LENGTH = 4

Files = Mapping[str, tuple[int, int, str]]
"""Size, time of the last change in nanoseconds, and sha256, by the name of a file."""

Collections = Mapping[str, str]
"""Ids of collections, by what the names of their files begin with."""


def read_files(disk: Path, collections: Collections, known: Files) -> Files:
    """Describe the files of collections; one of a `known` size and time is not read for it."""
    files = {}
    named = (
        (f"{prefix}{file.name}", file)
        for prefix, collection_id in collections.items()
        for file in _graph(disk, collection_id)
    )
    for name, file in named:
        stat = file.stat()
        size, moment = stat.st_size, stat.st_mtime_ns
        last = known.get(name)
        if last and (last[0], last[1]) == (size, moment):
            files[name] = (size, moment, last[2])
        else:
            files[name] = (size, moment, _sha256(file, size, moment))
    return files


@lru_cache(maxsize=256)
def _sha256(file: Path, size: int, moment: int) -> str:
    """The hash of a file as it is then: one copied without its times is read once a process."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def altered_files(disk: Path, collections: Collections, known: Files) -> list[str]:
    """The names of those of the `known` files that are gone, or have another content."""
    files = read_files(disk, collections, known)
    return [name for name, last in known.items() if name not in files or files[name][2] != last[2]]


def wipe_unused(disk: Path, collections: Collections) -> None:
    """Write zeros where the files of graphs have room for vectors, and none yet.

    A graph begins with room for 100, which is memory as the process had it: whatever it read before
    may be in it. The header has the number of vectors, and the size of each with its links.
    """
    for folder in (each for name in collections.values() for each in _folders(disk, name)):
        header = folder / "header.bin"
        if header.exists():
            count, size = _COUNT_AND_SIZE.unpack_from(header.read_bytes())
            for name, each in (("data_level0.bin", size), ("length.bin", _LENGTH)):
                with (folder / name).open("r+b") as file:
                    unused = file.seek(0, os.SEEK_END) - count * each
                    file.seek(count * each)
                    file.write(bytes(max(0, unused)))


def _graph(disk: Path, collection_id: str) -> Iterator[Path]:
    """The files of a graph; none before Chroma has written it as a whole."""
    for folder in _folders(disk, collection_id):
        # Last of all, Chroma writes the numbers of the ids.
        if (folder / "index_metadata.pickle").exists():
            yield from sorted(folder.iterdir())


def _folders(disk: Path, collection_id: str) -> list[Path]:
    query = "select id from segments where collection = ? and scope = 'VECTOR'"
    with closing(sqlite3.connect(disk / "chroma.sqlite3")) as connection:
        rows = connection.execute(query, [collection_id]).fetchall()
    return [disk / segment for (segment,) in rows]
