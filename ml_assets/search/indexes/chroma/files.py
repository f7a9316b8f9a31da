"""What the files of a Chroma graph were when they were written.

Chroma reads them in native code: a wrong bit in a link can end the whole process, one in a vector
gives a wrong answer, and neither is told.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

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
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            files[name] = (size, moment, digest)
    return files


def altered_files(disk: Path, collections: Collections, known: Files) -> list[str]:
    """The names of those of the `known` files that are gone, or have another content."""
    files = read_files(disk, collections, known)
    return [name for name, last in known.items() if name not in files or files[name][2] != last[2]]


def _graph(disk: Path, collection_id: str) -> Iterator[Path]:
    """The files of a graph; none before Chroma has written it as a whole."""
    query = "select id from segments where collection = ? and scope = 'VECTOR'"
    with closing(sqlite3.connect(disk / "chroma.sqlite3")) as connection:
        for (segment,) in connection.execute(query, [collection_id]).fetchall():
            # Last of all, Chroma writes the numbers of the ids.
            if (disk / segment / "index_metadata.pickle").exists():
                yield from sorted((disk / segment).iterdir())
