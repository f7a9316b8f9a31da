"""Rows of CSV, TSV, JSON Lines and Parquet files, one after the other."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any, BinaryIO

from ml_assets.documents.formats.rows import Row
from ml_assets.errors import SourceError, first_line

Numbered = tuple[str, Row | str]
"""Where the row stands within its file, and the row, or the reason why it cannot be read."""

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
OPEN_COLUMNS = (".jsonl", ".ndjson")
"""Formats in which a row may lack columns that others have."""

_INVALID = "invalid UTF-8"
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_FIELD_LIMIT = 2**31 - 1
_BATCH = 500


def read_table(file: BinaryIO, suffix: str, name: str) -> Iterator[Numbered]:
    """Stream the rows of an open file of one of the `FORMATS`.

    Raises:
        SourceError: the file is not of that format.
    """
    if suffix == ".parquet":
        return _read_parquet(file, name)
    if suffix in OPEN_COLUMNS:
        lines = enumerate(_lines(file, name), 1)
        return ((f"line {number}", _json_object(line)) for number, line in lines if line.strip())
    return _read_csv(file, name, "\t" if suffix == ".tsv" else ",")


def _json_object(line: bytes) -> Row | str:
    try:
        row = json.loads(line.decode("utf-8").strip())
    except UnicodeDecodeError:
        return _INVALID
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg} at column {error.colno})"
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"
    return row if isinstance(row, dict) else "not a JSON object"


def _read_csv(file: BinaryIO, name: str, delimiter: str) -> Iterator[Numbered]:
    # A row that is too long is one bad row; the limit of the csv module would end the whole file.
    csv.field_size_limit(_FIELD_LIMIT)
    # Bytes that are not UTF-8 become lone surrogates, so that they spoil one row and no more.
    text = (line.decode("utf-8", "surrogateescape") for line in _lines(file, name))
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header = _header(reader, name)
    for number in count(2):
        place = f"row {number}"
        try:
            if cells := next(reader):
                yield place, _csv_row(header, cells)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):
                do = 'Add the missing closing quote; within a cell, write " as ""'
                message = "a quoted cell is never closed"
                raise SourceError(message, where=f"{name} {place}", do=do) from None
            yield place, f"not CSV ({error})"


def _header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        do = 'Put a cell with a comma or a line end in quotes; within them, write " as ""'
        raise SourceError(f"the header is not CSV ({error})", where=name, do=do) from None
    if any(map(_ESCAPED_BYTE.search, header)):
        raise SourceError("the header is not UTF-8", where=name, do="Save the file as UTF-8")
    if len(set(header)) < len(header):
        raise SourceError("two columns have one name", where=name, do="Rename one of them")
    return header


def _csv_row(header: list[str], cells: list[str]) -> Row | str:
    if len(cells) != len(header):
        return f"{len(cells)} cells, but the header has {len(header)}"
    if any(map(_ESCAPED_BYTE.search, cells)):
        return _INVALID
    return dict(zip(header, cells, strict=True))


def _lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the lines with their ends, the first without its byte order mark."""
    first = file.readline()
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError("UTF-16, not UTF-8", where=name, do="Save the file as UTF-8")
    yield first.removeprefix(b"\xef\xbb\xbf")
    yield from file


def _read_parquet(file: BinaryIO, name: str) -> Iterator[Numbered]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = count(1)
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_BATCH):
            for cells in zip(*map(_values, batch.columns), strict=True):
                yield f"row {next(numbers)}", _parquet_row(batch.schema.names, cells)
    except (pa.ArrowException, OSError) as error:
        message = f"not readable as Parquet ({first_line(error)})"
        raise SourceError(message, where=name, do="Write or copy the file again") from None


def _values(column: Any) -> list[object]:
    """Return the cells of a column as Python objects; a bad byte becomes a lone surrogate."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", "UTC" if kind.tz else None), safe=False)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        cells = column.cast(pa.large_binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]
    return list(column.to_pylist())


def _parquet_row(names: list[str], cells: tuple[object, ...]) -> Row | str:
    if any(isinstance(cell, str) and _ESCAPED_BYTE.search(cell) for cell in cells):
        return _INVALID
    return dict(zip(names, cells, strict=True))
