"""Rows of a table or a query, of any database that SQLAlchemy has a driver for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.documents.formats.rows import (
    INVALID,
    Columns,
    Row,
    as_wanted,
    collection_of,
    is_invalid,
)
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import check_collection
from ml_assets.documents.sources.base import UNATTRIBUTED
from ml_assets.documents.sources.databases.connections import Database
from ml_assets.documents.sources.outcomes import check_number, hash_collections, hashed, outcomes
from ml_assets.errors import SourceError

if TYPE_CHECKING:
    import sqlalchemy as sa

VERSION = "4"
"""Raise it when the reading changes: it is part of every fingerprint."""

_ROWS = 1_000
"""Rows that are fetched at once."""

_COLON = re.compile(r"(?<![:\w\\]):(?=\w)")

_known: dict[tuple[str, str], dict[str, str]] = {}
"""The collections of the last source, by what it is and its stamp: a run asks for them often."""


@dataclass
class _Snapshot:
    """A connection that sees one state of the rows, and their stamp once it was asked for."""

    connection: sa.Connection
    stamp: str = ""


class Sql:
    """The rows of a `table` or of a `query`, streamed; nothing is ever written.

    `fingerprint` is a cheap query that tells whether they changed, such as the greatest time of
    change and the number of rows; of a source that a column splits it gives one row for each
    collection, whose name comes first. Without it all that is read is hashed: by PostgreSQL and
    MySQL themselves, else here.
    """

    def __init__(
        self,
        database: Database,
        columns: Columns,
        max_document_bytes: int,
        *,
        table: str = "",
        query: str = "",
        fingerprint: str = "",
        name: str = "",
    ) -> None:
        """Describe the source; `name` is the collection when no column splits it."""
        self._database = database
        self._columns = columns
        self._max_bytes = max_document_bytes
        self._table = table
        self._query = query.strip().rstrip(";")
        self._fingerprint = fingerprint.strip().rstrip(";")
        self._given_name = name
        self._snapshot: _Snapshot | None = None

    @property
    def name(self) -> str:
        """The kind, the database without who asks, and the table."""
        return f"sql:{self._database.place}/{self._table or 'query'}"

    @contextmanager
    def snapshot(self) -> Iterator[Sql]:
        """The source in one state, where the database can hold one for a reader.

        Its rows are hashed once within it, and what others write meanwhile is seen by the next.
        """
        if not self._database.has_snapshots:
            yield self
            return
        with self._connected() as connection:
            held = copy(self)
            held._snapshot = _Snapshot(connection)
            yield held

    def stamp(self) -> str:
        """Return a hash of the fingerprint or of the rows, or what tells of a database in a file.

        Of a database that can neither hash its rows nor tell when it was written, all are read.
        """
        if self._snapshot and self._snapshot.stamp:
            return self._snapshot.stamp
        told = self._database.file_stamp()
        if told is None or self._fingerprint:
            with self._connected() as connection:
                told = self._told(connection)
        stamp = self._digest(told)
        if self._snapshot:
            self._snapshot.stamp = stamp
        return stamp

    def collections(self) -> dict[str, str]:
        """Return the collections with a hash of their content and of the mapping."""
        stamp = self.stamp()
        in_file = self._database.file_stamp() is not None and not self._fingerprint
        if not self._columns.collection_by and not in_file:
            return {self._collection(): stamp}
        if (collections := _known.get((self.name, stamp))) is None:
            with self._connected() as connection:
                collections = self._collections(connection)
            if self._database.is_settled() and self.stamp() == stamp:
                _known.clear()
                _known[self.name, stamp] = collections
        return dict(collections)

    def columns(self) -> dict[str, list[str]]:
        """Return the columns of the mapping."""
        return self._columns.feeds()

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        """Stream these collections in one pass over the rows, in the order of the database.

        Raises:
            SourceError: the database cannot be read, columns are missing, or no row can be used.
        """
        wanted = {*collections, UNATTRIBUTED}
        grouped = self._fingerprint and self._columns.collection_by
        known = self.collections() if grouped else None
        for row in self._outcomes():
            if known is not None and row.collection not in {*known, UNATTRIBUTED}:
                reason = f"the fingerprint query does not give its collection, {row.collection!r}"
                identity = row.document_id
                yield Rejected(UNATTRIBUTED, f"id {identity}", reason, identity)
            elif row.collection in wanted:
                yield row

    def judged_queries(self) -> None:
        """Return None: a table holds no questions."""

    def _collections(self, connection: sa.Connection) -> dict[str, str]:
        if not self._columns.collection_by:
            return {self._collection(): self._digest(self._told(connection))}
        if not self._fingerprint:
            where = f"{self.name}, column {self._columns.collection_by!r}"
            parameters = self._parameters()
            digests = self._hashed_there(connection) or hashed(self._outcomes())
            return hash_collections(digests, lambda: hashlib.sha256(parameters), where)
        rows = connection.execute(_text(self._fingerprint)).fetchmany(_ROWS)
        names = [str(row[0]) for row in rows]
        check_number(len({*names}), self.name)
        if len({*names}) < len(names):
            do = "Group it by the collection, which comes first: select topic, max(changed), …"
            raise SourceError(
                "the fingerprint query gives a collection twice", where=self.name, do=do
            )
        # Rows of a name that cannot be one are told when those of the others are read.
        odd = repr([tuple(row) for row in rows if check_collection(str(row[0]))])
        given = {str(row[0]): repr(tuple(row)) + odd for row in rows}
        usable = sorted(name for name in given if not check_collection(name))
        return {name: self._digest(given[name]) for name in usable}

    def _told(self, connection: sa.Connection) -> str:
        """What another is when the rows are: the user's fingerprint, else a hash over them."""
        import sqlalchemy as sa

        if self._fingerprint:
            rows = connection.execute(_text(self._fingerprint)).fetchmany(_ROWS)
            return repr(sorted(repr(tuple(row)) for row in rows))
        selected, names = self._select(connection)
        part = selected.subquery("part")
        row_hash = self._database.row_hash([part.c[name] for name in names])
        if row_hash is not None:
            counted = sa.select(sa.func.count(), sa.func.sum(row_hash)).select_from(part)
            return repr(tuple(connection.execute(counted).one()))
        total = 0
        for row in self._streamed(connection, selected):
            total += int.from_bytes(_sha256(repr(tuple(row))))
        return str(total % (1 << 256))

    def _hashed_there(self, connection: sa.Connection) -> list[tuple[str, bytes]] | None:
        """A hash of the rows of each value that splits them; None: the database makes none."""
        import sqlalchemy as sa

        selected, names = self._select(connection)
        part, split = selected.subquery("part"), self._columns.collection_by
        called = dict(zip(as_wanted(names, self._columns, self.name), names, strict=True))
        row_hash = self._database.row_hash([part.c[name] for name in names])
        if row_hash is None or self._columns.period or split not in called:
            return None
        value, same = self._database.grouped(part.c[called[split]])
        hashes = sa.select(value, sa.func.count(), sa.func.sum(row_hash)).group_by(same)
        return [
            (collection_of({split: _plain(value)}, self._columns), _sha256(repr(told)))
            for value, *told in connection.execute(hashes)
        ]

    def _outcomes(self) -> Iterator[Document | Rejected]:
        collection = "" if self._columns.collection_by else self._collection()
        return outcomes(self._rows(), self._columns, collection, self._max_bytes, self.name)

    def _rows(self) -> Iterator[tuple[str, Row | str]]:
        with self._connected() as connection:
            selected, stored = self._select(connection)
            names = as_wanted(stored, self._columns, self.name)
            nested = {name.partition(".")[0] for name in self._columns.wanted if "." in name}
            with closing(self._streamed(connection, selected)) as rows:
                for number, cells in enumerate(rows, 1):
                    row = {name: _plain(cell) for name, cell in zip(names, cells, strict=True)}
                    for name in nested & row.keys():
                        row[name] = _opened(row[name])
                    yield f"row {number}", INVALID if any(map(is_invalid, row.values())) else row

    def _streamed(self, connection: sa.Connection, selected: Any) -> Generator[Any]:
        options = {"stream_results": True, "max_row_buffer": _ROWS}
        result = connection.execute(selected, execution_options=options)
        try:
            yield from result
        finally:
            result.close()

    def _select(self, connection: sa.Connection) -> tuple[Any, list[str]]:
        """The statement that reads the columns that are wanted, and their names there.

        Raises:
            SourceError: a column is missing, or there is no such table.
        """
        import sqlalchemy as sa

        origin = _text(f"({self._query}\n) as q") if self._query else _table(self._table)
        everything = sa.select(sa.text("*")).select_from(origin)
        stored = list(connection.execute(everything.where(sa.false())).keys())
        called = as_wanted(stored, self._columns, self.name)
        parts = {name.partition(".")[0] for name in self._columns.wanted} | self._columns.wanted
        names = [own for own, name in zip(stored, called, strict=True) if name in parts]
        return sa.select(*(sa.column(name) for name in names)).select_from(origin), names

    def _collection(self) -> str:
        """Return the collection of a source that no column splits."""
        name = self._given_name or self._table.rpartition(".")[2] or "query"
        if wrong := check_collection(name):
            raise SourceError(wrong, where=self.name, do="Give it a name, as in ?name=articles")
        return name

    def _parameters(self) -> bytes:
        statements = [self._table, self._query, self._fingerprint]
        parameters = [VERSION, self._max_bytes, self._columns.canonical(), self.name, *statements]
        return json.dumps(parameters).encode()

    def _digest(self, told: str) -> str:
        return hashlib.sha256(
            self._parameters() + told.encode("utf-8", "surrogateescape")
        ).hexdigest()

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        if self._snapshot is None:
            with self._database.connected(self.name) as connection:
                yield connection
        else:
            # What cannot be read ends no more than what was asked, and the rest is read as it was.
            with self._database.errors(self.name), self._snapshot.connection.begin_nested():
                yield self._snapshot.connection


def _table(name: str) -> Any:
    """A table or view, `schema.table` too."""
    import sqlalchemy as sa

    schema, _, table = name.rpartition(".")
    return sa.table(table, schema=schema or None)


def _text(query: str) -> Any:
    """The words of a user as a statement: a colon binds no value."""
    import sqlalchemy as sa

    return sa.text(_COLON.sub(r"\\:", query))


def _sha256(told: str) -> bytes:
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).digest()


def _plain(cell: object) -> object:
    """A cell; bytes as the text that they are, a bad one as a lone surrogate."""
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell).decode("utf-8", "surrogateescape")
    return cell


def _opened(cell: object) -> object:
    """A cell that holds JSON in a text, as MySQL and SQLite give it, as an object."""
    if isinstance(cell, str):
        with suppress(ValueError, RecursionError):
            return json.loads(cell)
    return cell
