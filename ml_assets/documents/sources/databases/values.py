"""Values of BSON as those of a row of a table, and what is asked in Extended JSON."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from ml_assets.documents.formats.rows import Row
from ml_assets.errors import SourceError, first_line

_WRITES = {"$out", "$merge"}


def decoded(answer: bytes) -> Row | str:
    """The fields of a document as plain values, or why they cannot be read."""
    from bson import decode
    from bson.codec_options import CodecOptions, DatetimeConversion
    from bson.errors import BSONError

    auto = DatetimeConversion.DATETIME_AUTO
    options: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, datetime_conversion=auto)
    try:
        return {name: _plain(value) for name, value in decode(answer, options).items()}
    except (BSONError, UnicodeDecodeError, RecursionError) as error:
        return f"it cannot be decoded ({first_line(error)})"


def _plain(value: Any) -> object:
    """A value as a row of a table has it: text for an id, UTF-8 for bytes, no type of BSON."""
    from bson import Binary, Decimal128, Int64, ObjectId, Timestamp

    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case ObjectId():
            return str(value)
        case Int64():
            return int(value)
        case Decimal128():
            decimal = value.to_decimal()
            return decimal if decimal.is_finite() else None
        case Timestamp():
            return value.as_datetime()
        case Binary() if value.subtype == 4:
            return value.as_uuid()
        case bytes():
            return value.decode()
    return value


def filter_from(text: str) -> Any:
    """Read the object that says which documents are read.

    Raises:
        SourceError: it is none.
    """
    read = _read_json(text, "the filter")
    if not isinstance(read, dict):
        do = 'Write one such as {"lang": "en"}'
        raise SourceError("it is not an object", where="the filter", do=do)
    return read


def stages_from(file: Path) -> list[Any]:
    """Read the stages of a pipeline.

    Raises:
        SourceError: they cannot be read, or would write.
    """
    where = f"the pipeline {file}"
    try:
        stages = _read_json(file.read_text(encoding="utf-8"), where)
    except (OSError, UnicodeDecodeError) as error:
        do = "Check the path; that in a .toml file is relative to it"
        raise SourceError(f"it cannot be read ({first_line(error)})", where=where, do=do) from None
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        do = 'Write [{"$lookup": {…}}, {"$unwind": "$parts"}]'
        raise SourceError("it is not a list of stages", where=where, do=do)
    if writes := sorted(_WRITES.intersection(chain.from_iterable(stages))):
        do = "Take it out: a source is only read"
        raise SourceError(f"it has a stage {writes[0]}, which writes", where=where, do=do)
    return stages


def _read_json(text: str, where: str) -> Any:
    """Read Extended JSON.

    Raises:
        SourceError: it is none; it is said of `where`.
    """
    from bson import encode, json_util
    from bson.errors import BSONError

    try:
        read = json_util.loads(text)
        encode({"": read})
    except (BSONError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        do = 'Write Extended JSON, such as {"written": {"$gt": {"$date": "2026-01-01T00:00:00Z"}}}'
        raise SourceError(f"it cannot be read ({first_line(error)})", where=where, do=do) from None
    return read
