"""Looking for marks in every file of a folder."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import duckdb

from ml_assets.errors import StoreError, first_line
from ml_assets.operations.erasure.subject import Marks
from ml_assets.operations.erasure.traces.contents import Parts, contents
from ml_assets.operations.erasure.traces.matching import Matcher
from ml_assets.operations.erasure.traces.patterns import patterns_of

T = TypeVar("T")

_UNREADABLE = (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, duckdb.Error)
"""What libraries raise of files that are damaged, closed to us, or held by others."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A mark in a file.

    `file`: from the folder on; `where`: the first place, in bytes, of the file or of what is
    compressed in it; `mark`: which one, such as `words[3]`, and not what it says; `encoding`: as
    what it is there.
    """

    file: str
    where: str
    mark: str
    encoding: str


def find_traces(folder: Path, marks: Marks) -> list[Trace]:
    """Every mark that a file under `folder` holds, in the order of their paths.

    Words are looked for in UTF-8, UTF-16 and JSON, vectors in float64, float32, float16 and uint8,
    in the bytes of files and in what these compress with gzip, zstd, LZ4 or zip, as Parquet, as
    blocks of ClickHouse, as documents of tantivy, or as PGLZ: in rows of PostgreSQL where that left
    bytes as they were, in what is left of deleted rows unpacked. Of what DuckDB compresses, the
    rows are looked through. Each of a mark's encodings is told once for each content. Links are
    not followed.

    Raises:
        StoreError: a file cannot be read.
    """
    matcher = Matcher(patterns_of(marks))
    return [
        Trace(
            name,
            f"{where}, byte {place}" if where else f"byte {place}",
            pattern.mark,
            pattern.encoding,
        )
        for name, where, (place, pattern) in look_through(folder, matcher.find)
    ]


def look_through(
    folder: Path, look: Callable[[Parts], Iterable[T]]
) -> Iterator[tuple[str, str, T]]:
    """What `look` finds in each content of each file under a folder, with the file and where in it.

    Raises:
        StoreError: a file cannot be read.
    """
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix() if path != folder else path.name
        try:
            for where, parts in contents(path):
                for found in look(parts):
                    yield name, where, found
        except FileNotFoundError:
            continue  # what is gone holds nothing
        except _UNREADABLE as error:
            raise StoreError(
                f"it cannot be looked through ({first_line(error)})",
                where=str(path),
                do="Check its permissions and the disk; a damaged copy can be deleted",
            ) from None


def files_of(folder: Path) -> Iterator[Path]:
    """The files under a folder, in the order of their paths, or a file; no links are followed."""
    if folder.is_file() and not folder.is_symlink():
        yield folder
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(parent, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield path
