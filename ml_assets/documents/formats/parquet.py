"""Rows of Parquet files: of the columns that are wanted, whatever the others hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, BinaryIO

from ml_assets.documents.formats.rows import (
    INVALID,
    Columns,
    Numbered,
    Row,
    as_wanted,
    is_invalid,
)
from ml_assets.errors import SourceError, first_line

_BATCH = 500


def read_parquet(file: BinaryIO, name: str, columns: Columns) -> Iterator[Numbered]:
    """Stream the rows, as `tables.read_table` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = count(1)
    try:
        parquet = pq.ParquetFile(file)
        stored = parquet.schema_arrow.names
        known = as_wanted(stored, columns, name)
        parts = {wanted.partition(".")[0] for wanted in columns.wanted} | columns.wanted
        read = {own: called for own, called in zip(stored, known, strict=True) if called in parts}
        for batch in parquet.iter_batches(batch_size=_BATCH, columns=[*read]):
            for cells in zip(*(_values(batch.column(own)) for own in read), strict=True):
                yield f"row {next(numbers)}", _row([*read.values()], cells)
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
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_value(cell) for cell in column]


def _value(cell: Any) -> object:
    """Return a cell as a Python object, or why Python has none for it."""
    try:
        return cell.as_py()
    except (ValueError, OverflowError):
        return _OutOfRange(f"is out of the range of Python's {cell.type}")


@dataclass(frozen=True)
class _OutOfRange:
    """Stands where a value cannot."""

    why: str


def _row(names: list[str], cells: tuple[object, ...]) -> Row | str:
    for name, cell in zip(names, cells, strict=True):
        if isinstance(cell, _OutOfRange):
            return f"{name} {cell.why}"
        if is_invalid(cell):
            return INVALID
    return dict(zip(names, cells, strict=True))
