"""What a file holds: its bytes as they are, and what is compressed in them."""

from __future__ import annotations

import json
import mmap
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import numpy as np
import pyarrow as pa

from ml_assets.operations.erasure.traces.blocks import clickhouse_blocks, tantivy_blocks
from ml_assets.operations.erasure.traces.pages import deleted_values
from ml_assets.operations.erasure.traces.patterns import TERM_END
from ml_assets.stores.duckdb import PATIENCE, is_held
from ml_assets.stores.patience import patiently

Parts = Iterable[bytes | memoryview]

_PART = 1 << 20
_ROWS = 4096

_STREAMS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
_PARQUET, _ZIP, _DUCKDB = b"PAR1", b"PK\x03\x04", b"DUCK"
_DUCKDB_AT = 8
_TABLES_OF = "base"
"""Where PostgreSQL has a folder for each database, and in it files of tables and indexes."""
_KEYWORD = "meta.json"
_GRAPH = "data_level0.bin"
"""The vectors of a graph of Chroma, which it has at norm 1."""


def contents(path: Path) -> Iterator[tuple[str, Parts]]:
    """What a file holds, each with where: itself first, then what it has compressed.

    Of a database of DuckDB, whose segments are compressed each in its own way, what its tables
    give; it must not be open in another process.

    Raises:
        FileNotFoundError: it is gone.
        OSError: it cannot be read, or is damaged.
    """
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(0)
        yield "", _parts(file)
        file.seek(0)
        for magic, codec in _STREAMS.items():
            if head.startswith(magic):
                yield codec, _parts(pa.CompressedInputStream(pa.PythonFile(file, "r"), codec))
        if head.startswith(_ZIP) and zipfile.is_zipfile(file):
            yield from _members(file)
        if head.startswith(_PARQUET):
            yield "Parquet", _parquet(path)
        if head[_DUCKDB_AT:].startswith(_DUCKDB):
            yield from _tables(path)
        if path.name == _KEYWORD:
            yield from _terms(path.parent, file)
        if path.name == _GRAPH:
            file.seek(0)
            yield "as float16", _halves(file)
        if path.parent.parent.name == _TABLES_OF and head:
            file.seek(0)
            yield "values of deleted rows", deleted_values(_parts(file))
        if path.suffix in (".bin", ".store") and head:
            with _mapped(file) as content:
                if path.suffix == ".store":
                    yield "LZ4 of tantivy", tantivy_blocks(content)
                elif blocks := clickhouse_blocks(content):
                    yield "blocks of ClickHouse", blocks


@contextmanager
def _mapped(file: BinaryIO) -> Iterator[memoryview]:
    with (
        closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as mapped,
        memoryview(mapped) as view,
    ):
        yield view


def _parts(file: Any) -> Iterator[bytes]:
    while part := file.read(_PART):
        yield part


def _members(file: BinaryIO) -> Iterator[tuple[str, Parts]]:
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                yield name, _parts(member)


def _parquet(path: Path) -> Iterator[memoryview]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS):
            yield from _buffers(batch)


def _tables(path: Path) -> Iterator[tuple[str, Parts]]:
    def open_file() -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(path), read_only=True)

    opened = patiently(open_file, is_held, seconds=PATIENCE, pause=0.05)
    with closing(opened) as connection:
        query = "select schema_name, table_name from duckdb_tables() order by all"
        for schema, table in connection.execute(query).fetchall():
            name = f'"{schema}"."{table}"'
            rows = connection.sql(f"from {name}").to_arrow_reader(_ROWS)
            yield f"table {table}", (part for batch in rows for part in _buffers(batch))


def _buffers(batch: pa.RecordBatch) -> Iterator[memoryview]:
    """The bytes of all values, column by column."""
    for column in batch.columns:
        yield from (memoryview(buffer) for buffer in column.buffers() if buffer)


def _terms(folder: Path, meta: BinaryIO) -> Iterator[tuple[str, Parts]]:
    """The terms that an index of tantivy finds documents by, those of deleted ones, too.

    Their dictionary is a transducer, in whose bytes no word is whole.
    """
    try:
        described = json.load(meta)
        fields = [each["name"] for each in described["schema"] if each["type"] == "text"]
    except (ValueError, KeyError, TypeError):
        return  # another file of this name
    import tantivy

    searcher = tantivy.Index.open(str(folder)).searcher()
    for field in fields:
        terms = (term.encode() for term, _ in searcher.terms_with_prefix(field, ""))
        yield f"terms of {field}", [TERM_END + TERM_END.join(terms) + TERM_END]


def _halves(file: BinaryIO) -> Iterator[bytes]:
    """Numbers rounded to half precision: the last bits of a norm depend on who computed it."""
    for part in _parts(file):
        numbers = np.frombuffer(part, "<f4", len(part) // 4)
        with np.errstate(all="ignore"):  # the links between them are no numbers
            yield numbers.astype("<f2").tobytes()
