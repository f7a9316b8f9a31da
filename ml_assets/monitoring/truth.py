"""Ground truth: what was true of a prediction, as a person, a program or a file tells it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from ml_assets.errors import SourceError, first_line
from ml_assets.monitoring.predictions import FEEDBACK, Told, record_of
from ml_assets.monitoring.spool.segments import place_of
from ml_assets.monitoring.spool.writer import SpoolWriter

REQUEST_ID = r"[A-Za-z0-9._-]{1,64}"
"""What a request may be called."""
LONGEST_LABEL = 500

_READERS = {
    ".csv": "read_csv(?, all_varchar = true)",
    ".parquet": "read_parquet(?)",
    **dict.fromkeys(
        (".jsonl", ".ndjson"),
        "read_json(?, format = 'newline_delimited', columns = {request_id: 'varchar',"
        " position: 'bigint', label: 'varchar', correct: 'boolean'})",
    ),
}
_TOGETHER = 1_000
_WORDS = {"true": True, "1": True, "false": False, "0": False, "": None}


def import_truth(home: Path, file: Path, most: int, caller: str) -> int:
    """Put the rows of a file into the spool, from which they are loaded; return how many.

    It has the columns `request_id` and `label`, or `correct`, and for a request of several texts
    `position`, from 0. To import it again changes nothing: the last that was told counts. `most`:
    bytes that the spool may have.

    Raises:
        SourceError: the file cannot be read, or a row not be used; then none is taken.
        StoreError: the spool is full, or cannot be written.
    """
    for _ in _read(file, caller):  # a row that cannot be used is found before any is written
        pass
    writer = SpoolWriter(place_of(home, FEEDBACK), uuid4().hex, most, "always")
    count = 0
    try:
        rows = _read(file, caller)
        while batch := [record_of(each) for each in islice(rows, _TOGETHER)]:
            writer.put(batch).result()
            count += len(batch)
    finally:
        writer.close()
    return count


def _read(file: Path, caller: str) -> Iterator[Told]:
    import duckdb

    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        do = f"Give it one of the endings {', '.join(_READERS)}"
        raise SourceError(f"{file.suffix or 'no ending'!r} is no format", where=str(file), do=do)
    try:
        with duckdb.connect() as duck:
            found = duck.execute(f"select * from {reader}", [str(file)])  # noqa: S608
            names = [name.strip().lower() for name, *_ in found.description or ()]
            number = 0
            while rows := found.fetchmany(_TOGETHER):
                for row in rows:
                    number += 1
                    given = dict(zip(names, row, strict=True))
                    yield _told(given, f"{file}, row {number}", caller)
    except duckdb.Error as error:
        do = "Write a row for each prediction: request_id, label"
        raise SourceError(first_line(error), where=str(file), do=do) from None


def _told(row: Mapping[str, Any], where: str, caller: str) -> Told:
    given = {name: "" if value is None else str(value) for name, value in row.items()}
    request_id, label = given.get("request_id", ""), given.get("label", "")
    position, correct = given.get("position") or "0", given.get("correct", "").lower()
    if not re.fullmatch(REQUEST_ID, request_id):
        raise SourceError(
            f"{request_id!r} is not the id of a request",
            where=where,
            do="Take it from the header X-Request-ID of the answer",
        )
    if not re.fullmatch(r"\d{1,5}", position, re.ASCII):
        do = "Number the texts of a request from 0"
        raise SourceError(f"{position!r} is not a position", where=where, do=do)
    if correct not in _WORDS or len(label) > LONGEST_LABEL or bool(label) == bool(correct):
        do = "Give either the true label, or true or false"
        raise SourceError("it has not one of label and correct", where=where, do=do)
    return Told(datetime.now(UTC), request_id, int(position), label, _WORDS[correct], caller)
