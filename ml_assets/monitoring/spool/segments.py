"""Segments: append-only files of records, each with its checksum; one writer each, and one day.

A segment is locked by who writes it, for as long as he lives, and never written again after that:
what can be locked is closed, in order or by a kill.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from ml_assets.errors import first_line
from ml_assets.stores.file_locks import try_lock
from ml_assets.stores.folders import DAMAGED, folder

Record = Mapping[str, Any]
"""What JSON takes; the writer adds its `sequence` to it."""

SPOOL = "spool"
"""The folder of all spools, in a home."""

_ENDING, _UNNAMED = ".jsonl", ".new"
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)\.([0-9a-f]{32})\.(\d{12})\.jsonl")
_CHECKSUM = 8
_TRIED_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of records: of which day and writer, and the sequence of the first."""

    path: Path
    day: date
    writer: str
    first: int


def encode(record: Record) -> bytes:
    """A line: eight hexadecimal digits of CRC-32, a blank, and the record as JSON."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read_records(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records up to the last whole one, and how many bytes of a torn one follow.

    What is whole, and yet no object of JSON, is an empty record.
    """
    records: list[dict[str, Any]] = []
    whole = 0
    with path.open("rb") as file:
        for line in file:
            text = line[_CHECKSUM + 1 : -1]
            if not line.endswith(b"\n") or line[:_CHECKSUM] != b"%08x" % zlib.crc32(text):
                break
            records.append(_object(text))
            whole += len(line)
        return records, path.stat().st_size - whole


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def put_aside(segment: Segment) -> None:
    """Give a segment a name under which nobody loads it."""
    segment.path.rename(segment.path.with_name(segment.path.name + DAMAGED))


def create(place: Path, day: date, writer: str, first: int) -> tuple[Segment, int]:
    """A new segment and its file, which stays locked until it is closed.

    It gets its name when it is locked: before that a loader would take it for a closed one.

    Raises:
        OSError: the disk is full.
        StoreError: the folder cannot be made.
    """
    folder(place)
    path = place / f"{day:%Y-%m-%d}.{writer}.{first:012}{_ENDING}"
    made = path.with_suffix(_UNNAMED)
    descriptor = try_lock(made)
    if descriptor is None:
        raise BlockingIOError(f"{made} is locked")
    made.rename(path)
    _keep_name(place)
    return Segment(path, day, writer, first), descriptor


def _keep_name(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # or a computer that loses power keeps the content without the name
    finally:
        os.close(descriptor)


def rewrite(segment: Segment, altered: Callable[[Record], Record]) -> None:
    """Write a closed segment anew, each record as it is `altered`; what is torn goes.

    For who has claimed it: a reader finds the old one or the new one, and so does a kill.
    """
    records, _ = read_records(segment.path)
    fresh = segment.path.with_suffix(_UNNAMED)
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(descriptor, [encode(altered(record)) for record in records])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(segment.path)
    _keep_name(segment.path.parent)


def remove_unnamed(place: Path) -> int:
    """Remove the files that a killed writer had not yet named; return how many there were."""
    removed = 0
    for path in place.glob(f"*{_UNNAMED}"):
        descriptor = try_lock(path, create=False)
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            removed += 1
    return removed


def list_segments(place: Path) -> list[Segment]:
    """All segments of a folder, in the order of their days, writers and sequences."""
    matches = [(path, _NAME.fullmatch(path.name)) for path in place.glob(f"*{_ENDING}")]
    found = [
        Segment(path, date.fromisoformat(match[1]), match[2], int(match[3]))
        for path, match in matches
        if match
    ]
    return sorted(found, key=lambda each: each.path.name)


def size(place: Path) -> int:
    """Bytes of all files of a folder, those that were put aside, too."""
    stats = (_stat(path) for path in place.glob("*"))
    return sum(stat.st_size for stat in stats if stat)


def forget_old(place: Path, latest: float) -> None:
    """Remove what nobody loads and was written last before `latest`, in seconds since 1970.

    That is what was put aside, and files that a killed writer had not yet named.
    """
    for path in place.glob("*"):
        stat = _stat(path)
        if stat and stat.st_mtime < latest and path.suffix in (DAMAGED, _UNNAMED):
            path.unlink(missing_ok=True)


def written_last(segment: Segment) -> float | None:
    """When a segment was written last, in seconds since 1970; None: it was loaded just now."""
    stat = _stat(segment.path)
    return stat.st_mtime if stat else None


def obstacle(place: Path, most: int) -> str:
    """Why no record would be kept in a folder that may have `most` bytes; empty: it would be.

    It is tried, for as long as nobody sees it: what is mounted how, and who may use how much of
    it, is told in no other way. A folder that is not there is not made.
    """
    try:
        if size(place) >= most:
            return f"the spool has its {most:,} bytes"
        there = next(each for each in (place, *place.parents) if each.exists())
        with TemporaryFile(dir=there) as file:
            file.write(bytes(_TRIED_BYTES))
    except OSError as error:
        return first_line(error)
    return ""


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether a file is still where it was opened: who had it before may have removed it."""
    stat = _stat(path)
    return stat is not None and os.path.samestat(stat, os.fstat(descriptor))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


@contextmanager
def claimed(segment: Segment) -> Iterator[bool]:
    """Hold a segment for the block; False while its writer, or another loader, has it.

    It is False, too, for who may only read it, and of one that was loaded meanwhile.
    """
    descriptor = None
    if os.access(segment.path, os.W_OK):
        descriptor = try_lock(segment.path, create=False)
    if descriptor is not None and not _is_at(segment.path, descriptor):
        os.close(descriptor)
        descriptor = None
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def closed_segments(place: Path) -> list[Segment]:
    """Those that nobody writes any more."""
    closed = []
    for segment in list_segments(place):
        with claimed(segment) as is_closed:
            if is_closed:
                closed.append(segment)
    return closed


def place_of(home: Path, name: str) -> Path:
    """The folder of the records of one kind; its first writer makes it."""
    return home / SPOOL / name


def write_all(descriptor: int, lines: Sequence[bytes]) -> int:
    """Append lines, whole, and return how many bytes they are.

    Raises:
        OSError: the disk is full; what is torn then ends the segment.
    """
    content = b"".join(lines)
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    return len(content)
