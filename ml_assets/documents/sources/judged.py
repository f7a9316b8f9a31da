"""Files of judged queries: JSON Lines, a question with its graded documents in each."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ml_assets.documents.sources.base import JudgedQueries, JudgedQuery
from ml_assets.errors import SourceError

_HALVES: tuple[Literal["tuning", "reporting"], ...] = ("tuning", "reporting")
_FORM = 'Write {"query_id": "1", "query": "…", "relevant": {"id": 1}, "half": "tuning"}'


def read_judged(file: Path) -> JudgedQueries:
    """The queries of a file, in its order; blank lines are passed over.

    Raises:
        SourceError: it cannot be read, a line is no judged query, or an id stands twice.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            queries = [
                _read_line(line, f"{file} line {number}")
                for number, line in enumerate(lines, 1)
                if line.strip()
            ]
    except OSError as error:
        message, do = f"cannot be read ({error.strerror})", "Check the path and its permissions"
        raise SourceError(message, where=str(file), do=do) from None
    except UnicodeDecodeError:
        raise SourceError("invalid UTF-8", where=str(file), do="Save the file as UTF-8") from None
    if len({query.query_id for query in queries}) < len(queries):
        raise SourceError("a query_id stands twice", where=str(file), do="Give each its own")
    return tuple(queries)


def write_judged(queries: Iterable[JudgedQuery], file: Path) -> None:
    """Write queries so that `read_judged` gives them back; a file of before stays until the end.

    Raises:
        SourceError: the file cannot be written.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with part.open("w", encoding="utf-8") as lines:
            lines.writelines(
                json.dumps(
                    {
                        "query_id": query.query_id,
                        "query": query.text,
                        "relevant": dict(query.relevant),
                        "half": query.half,
                    },
                    ensure_ascii=False,
                )
                + "\n"
                for query in queries
            )
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        message = f"cannot be written ({error.strerror})"
        raise SourceError(message, where=str(file), do="Name another file") from None


def half_of(query_id: str) -> Literal["tuning", "reporting"]:
    """The half of a query that was given none: one of two by the first byte of its id's sha256."""
    return _HALVES[hashlib.sha256(query_id.encode()).digest()[0] % 2]


def _read_line(line: str, where: str) -> JudgedQuery:
    try:
        row: Any = json.loads(line)
        texts = row["query_id"], row["query"]
        relevant, half = row["relevant"], row["half"]
    except (ValueError, KeyError, TypeError):
        raise SourceError("not a judged query", where=where, do=_FORM) from None
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise SourceError("query_id or query is no text", where=where, do=_FORM)
    if half not in _HALVES:
        raise SourceError(f"{half!r} is no half", where=where, do="Write tuning or reporting")
    if not isinstance(relevant, Mapping) or not all(
        type(grade) is int and grade >= 0 for grade in relevant.values()
    ):
        what = "relevant is not an object of grades, 0 or more"
        raise SourceError(what, where=where, do=_FORM)
    return JudgedQuery(*texts, relevant, half)
