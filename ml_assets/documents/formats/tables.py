"""Rows of CSV, TSV, JSON Lines, Parquet and MBOX files, one after the other."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from itertools import count
from typing import BinaryIO

from ml_assets.documents.formats.mail import read_mbox
from ml_assets.documents.formats.parquet import read_parquet
from ml_assets.documents.formats.rows import (
    INVALID,
    Columns,
    Numbered,
    Row,
    as_wanted,
    is_invalid,
)
from ml_assets.errors import SourceError

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".mbox")
OPEN_COLUMNS = (".jsonl", ".ndjson")
"""Formats in which a row may lack columns that others have."""

_FIELD_LIMIT = 2**31 - 1
_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?[ \r\n]*')
_DELIMITERS = (",", ";", "|", "\t")
_LONGEST = 1 << 26
"""Bytes of a row of text; more are never held in memory."""

_SWALLOWED = 4
"""So many lines of a row that each look like a row of their own are rows that a quote swallowed."""


def read_table(file: BinaryIO, suffix: str, name: str, columns: Columns) -> Iterator[Numbered]:
    """Stream the rows of an open file of one of the `FORMATS`.

    Of Parquet only the columns that play a role are read. A heading that differs from one of these
    in case, or by spaces around it, is that column.

    Raises:
        SourceError: the file is not of that format.
    """
    if suffix == ".parquet":
        return read_parquet(file, name, columns)
    if suffix == ".mbox":
        return read_mbox(_lines(file, name), name, columns)
    if suffix in OPEN_COLUMNS:
        return _read_json_lines(file, name)
    return _read_csv(file, name, "\t" if suffix == ".tsv" else "", columns)


def _read_json_lines(file: BinaryIO, name: str) -> Iterator[Numbered]:
    for number, line in enumerate(_lines(file, name), 1):
        if len(line) > _LONGEST:
            yield f"line {number}", f"more than {_LONGEST} bytes in a line"
        elif line.strip():
            yield f"line {number}", _json_object(line)


def _json_object(line: bytes) -> Row | str:
    try:
        row = json.loads(line.decode("utf-8").strip())
    except UnicodeDecodeError:
        return INVALID
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg} at column {error.colno})"
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"
    return row if isinstance(row, dict) else "not a JSON object"


def _read_csv(file: BinaryIO, name: str, delimiter: str, columns: Columns) -> Iterator[Numbered]:
    """Read rows of CSV, whose delimiter is that of its header, or of TSV, which has no quotes."""
    # The limit of the csv module would end the whole file at a long cell. So does a row of several
    # lines that are longer than `_LONGEST`; a single line of that length is one bad row.
    csv.field_size_limit(_FIELD_LIMIT)
    text = _TextLines(file, name)
    delimiter_of_csv = text.separator or max(_DELIMITERS, key=text.first.count)
    spaced = text.first.count(delimiter_of_csv)
    reader = csv.reader(
        text,
        delimiter=delimiter or delimiter_of_csv,
        quoting=csv.QUOTE_NONE if delimiter else csv.QUOTE_MINIMAL,
        skipinitialspace=0 < spaced == text.first.count(f"{delimiter_of_csv} "),
        strict=True,
    )
    if not text.first:
        return
    header = as_wanted(_header(reader, name), columns, name)
    for number in count(2 + text.skipped):
        place = f"row {number}"
        text.begin_row(place)
        try:
            if cells := next(reader):
                yield place, _csv_row(header, cells, text.held, reader.dialect.delimiter)
        except StopIteration:
            return
        except _LongLineError:
            yield place, f"a line of more than {_LONGEST} bytes"
        except csv.Error as error:
            if "end of data" in str(error):
                do = 'Add the missing closing quote; within a cell, write " as ""'
                message = "a quoted cell is never closed"
                raise SourceError(message, where=f"{name} {place}", do=do) from None
            behind = f" {len(text.held)} lines behind its first" if len(text.held) > 1 else ""
            yield place, f"not CSV ({error}{behind})"


class _LongLineError(Exception):
    """The row that begins is a line of more than `_LONGEST` bytes."""


class _TextLines:
    """The lines of a file as text, and those of the row that is being read.

    `first` is the header: empty lines before it are `skipped`, and the one in which Excel writes
    its `separator`.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._lines = _lines(file, name)
        self._name = name
        self.first, self.skipped, self.separator = "", 0, ""
        for line in map(self._decoded, self._lines):
            if found := _SEPARATOR.fullmatch(line):
                self.separator = found[1]
            elif line.strip():
                self.first = line
                break
            self.skipped += 1
        self.held: list[str] = []
        self._size, self._place = 0, "the header"
        self._began = False

    def begin_row(self, place: str) -> None:
        """Forget the lines of the row before."""
        self.held, self._size, self._place = [], 0, place

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._decoded(next(self._lines)) if self._began else self.first
        self._began = True
        self._size += len(line)
        if self._size > _LONGEST and not self.held:
            raise _LongLineError
        if self._size > _LONGEST:
            message = f"a row of more than {_LONGEST} bytes; it and what follows are not read"
            do = 'Close its quote, or split the row; within a cell, write " as ""'
            raise SourceError(message, where=f"{self._name} {self._place}", do=do)
        self.held.append(line)
        return line

    @staticmethod
    def _decoded(line: bytes) -> str:
        # Bytes that are not UTF-8 become lone surrogates, so that they spoil one row and no more.
        return line.decode("utf-8", "surrogateescape")


def _header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        do = 'Put a cell with a comma or a line end in quotes; within them, write " as ""'
        raise SourceError(f"the header is not CSV ({error})", where=name, do=do) from None
    if any(map(is_invalid, header)):
        raise SourceError("the header is not UTF-8", where=name, do="Save the file as UTF-8")
    named = [name for name in header if name.strip()]
    if len(set(named)) < len(named):
        raise SourceError("two columns have one name", where=name, do="Rename one of them")
    return header


def _csv_row(header: list[str], cells: list[str], lines: list[str], delimiter: str) -> Row | str:
    between = len(header) - 1
    alike = between and all(line.count(delimiter) == between for line in lines)
    if alike and len(lines) >= _SWALLOWED:
        return f'a quote swallowed {len(lines) - 1} more rows (within a cell, write " as "")'
    if len(cells) != len(header):
        return f"{len(cells)} cells, but the header has {len(header)}"
    if any(map(is_invalid, cells)):
        return INVALID
    return dict(zip(header, cells, strict=True))


def _lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the lines with their ends, the first without its byte order mark.

    A line that is too long is cut to one byte more than it may have; the rest is passed over.
    """
    first = file.readline(_LONGEST + 1)
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError("UTF-16, not UTF-8", where=name, do="Save the file as UTF-8")
    line = first.removeprefix(b"\xef\xbb\xbf")
    while line:
        yield line
        while len(line) > _LONGEST and not line.endswith(b"\n"):
            line = file.readline(_LONGEST + 1)
        line = file.readline(_LONGEST + 1)
