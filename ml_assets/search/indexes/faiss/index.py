"""The FAISS index: vectors in memory, whole or as product codes, and a SQLite file of its rows.

Both files change in one transaction. A change is made in memory and in an open transaction;
committing it writes a new index file, then the name of that file with the rows: a process that dies
leaves the old state or the new one.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from ml_assets.embeddings.quantization import Matrix, to_uint8, unit
from ml_assets.errors import StoreError
from ml_assets.search.filters.language import NO_FILTER, Among, Condition, Filter
from ml_assets.search.indexes.contract import Entry, Ranking
from ml_assets.search.indexes.faiss import codes
from ml_assets.search.model import Generation, Vector
from ml_assets.stores.file_locks import removed
from ml_assets.stores.folders import folder, usable, vacuum_sqlite
from ml_assets.stores.patience import patiently
from ml_assets.stores.sql import statement

_ROWS = "rows.sqlite"


class FaissIndex:
    """By cosine, in a folder of the generation's own; its tables are those of `faiss/create`."""

    kind = "faiss"
    stores_vectors = True

    def __init__(self, home: Path, generation: Generation) -> None:
        """Name the folder under `home`; nothing is created before the first `upsert`."""
        self.generation = generation
        self.path = home / generation.generation_id
        self.lock: Path | None = home / f".{generation.generation_id}.lock"
        self._rows: sqlite3.Connection | None = None
        self._loaded: tuple[str, Any] = ("", None)
        """The index, and the name of its file."""
        self._changed = False

    def query(self, vector: Vector, k: int, filters: Filter = NO_FILTER) -> Ranking:
        """Exact when the index is flat."""
        self.generation.check(vector)
        if filters != NO_FILTER and not isinstance(filters, Among):
            raise TypeError("FAISS filters by the ids of chunks alone")
        chunk_ids = filters.chunk_ids if isinstance(filters, Among) else None
        with self._explained():
            # A writer may replace the file after the look at the rows that name it.
            return patiently(
                lambda: self._query(unit(vector[None]), k, chunk_ids),
                lambda error: isinstance(error, FileNotFoundError),
                seconds=1,
                pause=0.01,
            )

    def query_many(self, vectors: Sequence[Vector], k: int) -> list[Ranking]:
        return [self.query(vector, k) for vector in vectors]

    def expresses(self, condition: Condition) -> bool:
        return condition == NO_FILTER

    def size(self) -> int:
        return sum(count for (count,) in self._select("select count(*) from entries"))

    def differing(self, batches: Iterable[Sequence[Entry]]) -> list[str]:
        if not (self.path / _ROWS).exists():
            return []
        with self._explained(), self._reading() as (rows, index):
            return codes.altered(rows, index, batches) if index else []

    def disk_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.path.glob("*"))

    def drop(self, kept: Sequence[Generation] = ()) -> bool:
        self.close()
        return self.lock is None or removed(self.path, self.lock)

    def close(self) -> None:
        if self._rows is not None:
            self._rows.close()  # SQLite rolls back
        self._rows, self._loaded, self._changed = None, ("", None), False

    def revisions(self, chunk_ids: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        asked = None if chunk_ids is None else json.dumps(list(chunk_ids))
        yield from self._select(statement("sqlite/faiss/revisions"), {"chunk_ids": asked})

    def mark(self) -> str:
        return "".join(mark for (mark,) in self._select("select mark from state"))

    def set_mark(self, mark: str) -> None:
        with self._explained():
            rows = self._begin()
            if self._changed and self._loaded[1]:
                self._write(rows)
            rows.execute("update state set mark = ?", [mark])
            rows.commit()
            self._changed = False
            (name,) = rows.execute("select file from state").fetchone()
            for file in self.path.glob("*.faiss*"):  # the one before, and those of killed writers
                if file.name != name:
                    file.unlink(missing_ok=True)

    def upsert(self, entries: Sequence[Entry]) -> int:
        self.remove([entry.chunk_id for entry in entries])
        vectors = unit([entry.vector for entry in entries])
        flat = self.generation.parameters["faiss"]["index"] == "flat"
        with self._changing() as (rows, index):
            (last,) = rows.execute(statement("sqlite/faiss/last_number")).fetchone()
            numbers = np.arange(last + 1, last + 1 + len(entries), dtype=np.int64)
            stored = [None if flat else row.tobytes() for row in to_uint8(vectors)]
            rows.executemany(
                "insert into entries values (?, ?, ?, ?)",
                [
                    (number, entry.chunk_id, entry.revision, vector)
                    for number, entry, vector in zip(numbers.tolist(), entries, stored, strict=True)
                ],
            )
            grown = index or codes.made(self.generation.dimension)
            grown.add_with_ids(vectors, numbers)
            self._loaded = (self._loaded[0], grown if flat else codes.trained(rows, grown))
        return 0

    def remove(self, chunk_ids: Sequence[str]) -> None:
        with self._changing() as (rows, index):
            removed = codes.numbers_of(rows, "sqlite/faiss/remove", chunk_ids)
            if removed.size:
                index.remove_ids(removed)

    def rewrite(self, batches: Iterable[Sequence[Entry]]) -> bool:
        if not (self.path / _ROWS).exists():
            return False
        with self._changing() as (rows, index):
            if index is not None:
                self._loaded = (self._loaded[0], codes.retrained(rows, index))
        self.set_mark(self.mark())  # into a new file
        with self._explained():
            vacuum_sqlite(self._open())
        return True

    def _query(self, vector: Matrix, k: int, chunk_ids: Sequence[str] | None) -> Ranking:
        with self._reading() as (rows, index):
            passing = None
            if chunk_ids is not None:
                passing = codes.numbers_of(rows, "sqlite/faiss/numbers", chunk_ids)
            if index is None or not index.ntotal or (passing is not None and not passing.size):
                return Ranking((), (), exhausted=True)
            names, cosines = codes.nearest(rows, index, vector, k, passing)
        return Ranking.best_first(zip(cosines, names, strict=True), exhausted=len(names) < k)

    @contextmanager
    def _reading(self) -> Iterator[tuple[sqlite3.Connection, Any]]:
        """The rows and the index of one moment; the index is None while nothing is in it."""
        rows = self._open()
        rows.execute("savepoint reading")  # within its transaction the writer sees its own changes
        try:
            yield rows, self._index(rows)
        finally:
            rows.execute("release reading")

    @contextmanager
    def _changing(self) -> Iterator[tuple[sqlite3.Connection, Any]]:
        """The rows and the index to be changed; others see what was changed at the next mark."""
        with self._explained():
            self._create()
            rows = self._begin()
            self._changed = True
            yield rows, self._index(rows)

    def _select(self, query: str, bound: dict[str, str | None] | None = None) -> list[Any]:
        """The rows of a query; none while there is no index."""
        if not (self.path / _ROWS).exists():
            return []
        with self._explained():
            return self._open().execute(query, bound or {}).fetchall()

    def _begin(self) -> sqlite3.Connection:
        rows = self._open()
        if not rows.in_transaction:
            rows.execute("begin immediate")
        return rows

    def _open(self) -> sqlite3.Connection:
        if self._rows is None:
            if not (self.path / _ROWS).exists():
                raise StoreError(
                    "there is no FAISS index here",
                    where=str(self.path),
                    do="Materialize `faiss_index`",
                )
            # Threads take turns: one searches, another closes.
            self._rows = sqlite3.connect(
                self.path / _ROWS, timeout=30, isolation_level=None, check_same_thread=False
            )
        return self._rows

    def _create(self) -> None:
        if (self.path / _ROWS).exists():
            return
        temporary = folder(self.path) / f"{_ROWS}.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        with closing(sqlite3.connect(temporary, isolation_level=None)) as rows:
            # Readers do not wait for the writer, and it does not wait for them.
            rows.execute("pragma journal_mode = wal")
            rows.executescript(statement("sqlite/faiss/create"))
        temporary.replace(self.path / _ROWS)

    def _index(self, rows: sqlite3.Connection) -> Any:
        (name,) = rows.execute("select file from state").fetchone()
        if name != self._loaded[0]:
            file = self.path / name
            file.stat()  # FAISS has no error of its own for a file that is gone
            index = codes.load().read_index(str(file))
            (count,) = rows.execute("select count(*) from entries").fetchone()
            if index.ntotal != count:
                raise RuntimeError(f"corrupt: {index.ntotal} vectors of {count} entries")
            self._loaded = (name, index)
        return self._loaded[1]

    def _write(self, rows: sqlite3.Connection) -> None:
        """Write the index into a new file, and its name."""
        name, index = f"{uuid4().hex}.faiss", self._loaded[1]
        temporary = self.path / f"{name}.tmp"
        codes.load().write_index(index, str(temporary))
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(self.path / name)
        rows.execute("update state set file = ?", [name])
        self._loaded = (name, index)

    def _explained(self) -> AbstractContextManager[None]:
        return usable(self.path, "the FAISS index", sqlite3.Error, OSError, RuntimeError)
