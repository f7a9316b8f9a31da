"""FAISS: an index file, and a SQLite file of what is in it, that change in one transaction.

A change is made in memory and in an open transaction. Committing it writes a new index file, then
the name of that file with the rows: a process that dies leaves the old state or the new one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ml_assets.errors import SettingError, StoreError
from ml_assets.stores.folders import folder
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from types import ModuleType

_ROWS = "rows.sqlite"
_ATTEMPTS = 3


def load() -> ModuleType:
    """FAISS itself, an optional extra."""
    try:
        import faiss
    except ImportError:
        raise SettingError(
            "FAISS is not installed",
            where="ML_ASSETS_VECTOR_INDEX",
            do="Install it (pip install faiss-cpu), or choose pgvector or chroma",
        ) from None
    # A query is one vector: one thread finds its nearest sooner than two.
    faiss.omp_set_num_threads(1)
    return faiss


@contextmanager
def all_processors() -> Iterator[None]:
    """Train on all of them."""
    faiss = load()
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(1)


class FaissFiles:
    """The folder of one index. The tables `entries` and `state` are those of `faiss/create`."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is created before the first `begin`."""
        self.path = path
        self._rows: sqlite3.Connection | None = None
        self._loaded: tuple[str, Any] | None = None
        self._changed = False

    def exists(self) -> bool:
        """Whether anything was ever written."""
        return (self.path / _ROWS).exists()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The rows, as they were at one moment; the writer sees its own changes."""
        with self._explained():
            rows = self._open()
            if rows.in_transaction:
                yield rows
                return
            rows.execute("begin")
            try:
                yield rows
            finally:
                rows.rollback()

    @contextmanager
    def searching(self) -> Iterator[tuple[sqlite3.Connection, Any]]:
        """The rows and the FAISS index of one moment; the index is None while nothing is in it."""
        with self._explained():
            for attempt in range(_ATTEMPTS):
                with self.reading() as rows:
                    try:
                        index = self._index(rows)
                    except FileNotFoundError:
                        # A writer has replaced it since the rows were looked at.
                        if attempt + 1 == _ATTEMPTS:
                            raise
                        continue
                    yield rows, index
                    return

    @contextmanager
    def changing(self) -> Iterator[tuple[sqlite3.Connection, Any]]:
        """The rows and the index to be changed; what was changed is seen by others at `commit`."""
        with self._explained():
            self._create()
            rows = self._begin()
            self._changed = True
            yield rows, self._index(rows)

    def put(self, index: Any) -> None:
        """Use this index from now on."""
        self._loaded = (self._loaded[0] if self._loaded else "", index)

    def commit(self, mark: str) -> None:
        """Write what was changed, with this mark; the folder must exist."""
        with self._explained():
            rows = self._begin()
            if self._changed and self._loaded:
                name = self._write(self._loaded[1])
                rows.execute("update state set file = ?", [name])
                self._loaded = (name, self._loaded[1])
            rows.execute("update state set mark = ?", [mark])
            rows.commit()
            self._changed = False
            self._tidy(rows)

    def close(self) -> None:
        """Let go of the files; what was not committed is lost."""
        if self._rows is not None:
            self._rows.close()  # SQLite rolls back
        self._rows, self._loaded, self._changed = None, None, False

    def _begin(self) -> sqlite3.Connection:
        rows = self._open()
        if not rows.in_transaction:
            rows.execute("begin immediate")
        return rows

    def _open(self) -> sqlite3.Connection:
        if self._rows is None:
            if not self.exists():
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
        if self.exists():
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
        if self._loaded is None or self._loaded[0] != name:
            file = self.path / name
            if not name:
                return None
            if not file.exists():
                raise FileNotFoundError(file)
            self._loaded = (name, load().read_index(str(file)))
        return self._loaded[1]

    def _write(self, index: Any) -> str:
        name = f"{uuid4().hex}.faiss"
        temporary = self.path / f"{name}.tmp"
        load().write_index(index, str(temporary))
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(self.path / name)
        return name

    def _tidy(self, rows: sqlite3.Connection) -> None:
        """Remove the index files that no row names: the one before, and those of killed writers."""
        (name,) = rows.execute("select file from state").fetchone()
        for file in self.path.glob("*.faiss*"):
            if file.name != name:
                file.unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, RuntimeError) as error:
            raise StoreError(
                f"the FAISS index cannot be used ({str(error).splitlines()[0]})",
                where=str(self.path),
                do="Check the disk; a damaged folder can be deleted, and is rebuilt",
            ) from None
