"""The FAISS index: the vectors of a generation in memory, whole or as product codes.

`flat` compares with every vector. `ivfpq` keeps a few bytes a vector in memory: of the nearest by
those, the stored vectors (one byte a number, on disk) say which are the nearest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml_assets.embeddings.quantization import from_uint8, to_uint8, uint8_rows, unit
from ml_assets.search.filters.language import NO_FILTER, Among, Condition, Filter
from ml_assets.search.indexes.contract import Entry, Ranking
from ml_assets.search.indexes.faiss.files import FaissFiles, all_processors, load
from ml_assets.search.indexes.sizing import candidates_of, is_outgrown, lists_of, probes_of
from ml_assets.search.model import Generation, Vector
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import sqlite3

TRAINS_FROM = 10_000
"""Rows from which product codes are trained: 39 for each of 256 centroids, FAISS's minimum."""

_TRAINS_ON = 65_536
_GROWS = 4
"""Trained anew when there are so many times as many rows as the training saw, or as few.

Also when they only took the place of others: recall suffers under codes trained on other texts.
"""

_NUMBERS_OF_A_BYTE = 8
"""That a code of one byte stands for, at most; with fewer, building takes far longer."""

_BATCH = 4096

Matrix = NDArray[np.float32]
Numbers = NDArray[np.int64]
"""What FAISS calls its rows by; `entries` says which chunk each is."""


class FaissIndex:
    """By cosine, in files of the generation's own."""

    kind = "faiss"
    stores_vectors = True

    def __init__(self, home: Path, generation: Generation) -> None:
        """Name the folder under `home`; nothing is created before the first `upsert`."""
        self.generation = generation
        self._files = FaissFiles(home / generation.generation_id)

    def query(self, vector: Vector, k: int, filters: Filter = NO_FILTER) -> Ranking:
        """Exact when the index is flat.

        Product codes are read in √lists of the lists, in more under a filter, and in all of them
        when that gives fewer than `k`.
        """
        self.generation.check(vector)
        if filters != NO_FILTER and not isinstance(filters, Among):
            raise TypeError("FAISS filters by the ids of chunks alone")
        asked = unit(vector[None])
        with self._files.searching() as (rows, index):
            passing = _numbers(rows, filters.chunk_ids) if isinstance(filters, Among) else None
            if index is None or not index.ntotal or (passing is not None and not len(passing)):
                return Ranking((), (), exhausted=True)
            if hasattr(index, "nlist"):
                numbers, cosines = _nearest_by_codes(rows, index, asked, k, passing)
            else:
                numbers, cosines = _nearest(index, asked, k, passing)
            names = _looked_up(rows, "chunk_ids", numbers)
        scored = zip(cosines.tolist(), names, strict=True)
        return Ranking.best_first(scored, exhausted=len(names) < k)

    def expresses(self, condition: Condition) -> bool:
        return condition == NO_FILTER

    def size(self) -> int:
        if not self._files.exists():
            return 0
        with self._files.reading() as rows:
            return int(rows.execute("select count(*) from entries").fetchone()[0])

    def disk_bytes(self) -> int:
        return sum(file.stat().st_size for file in self._files.path.glob("*"))

    def drop(self, kept: Sequence[Generation] = ()) -> bool:
        self.close()
        shutil.rmtree(self._files.path, ignore_errors=True)
        return True

    def close(self) -> None:
        self._files.close()

    def revisions(self, chunk_ids: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        if not self._files.exists():
            return
        asked = None if chunk_ids is None else json.dumps(list(chunk_ids))
        with self._files.reading() as rows:
            stored = rows.execute(
                statement("sqlite/faiss/revisions"), {"chunk_ids": asked}
            ).fetchall()
        yield from stored

    def mark(self) -> str:
        if not self._files.exists():
            return ""
        with self._files.reading() as rows:
            return str(rows.execute("select mark from state").fetchone()[0])

    def set_mark(self, mark: str) -> None:
        self._files.commit(mark)

    def upsert(self, entries: Sequence[Entry]) -> int:
        self.remove([entry.chunk_id for entry in entries])
        vectors = unit([entry.vector for entry in entries])
        with self._files.changing() as (rows, index):
            (last,) = rows.execute(statement("sqlite/faiss/last_number")).fetchone()
            numbers = np.arange(last + 1, last + 1 + len(entries), dtype=np.int64)
            kept = self._kept(vectors)
            rows.executemany(
                "insert into entries values (?, ?, ?, ?)",
                (
                    (number, entry.chunk_id, entry.revision, vector)
                    for number, entry, vector in zip(numbers.tolist(), entries, kept, strict=True)
                ),
            )
            grown = index or _made(self.generation.dimension, "IDMap,Flat")
            grown.add_with_ids(vectors, numbers)
            self._files.put(self._trained(rows, grown))
        return 0

    def remove(self, chunk_ids: Sequence[str]) -> None:
        with self._files.changing() as (rows, index):
            numbers = _numbers(rows, chunk_ids)
            if not len(numbers):
                return
            index.remove_ids(numbers)
            rows.executemany(
                "delete from entries where number = ?", ([number] for number in numbers.tolist())
            )

    def _kept(self, vectors: Matrix) -> Iterator[bytes | None]:
        """What is stored of each vector beside the index: nothing where that has all of it."""
        if self.generation.parameters["faiss"]["index"] == "flat":
            return (None for _ in vectors)
        return (row.tobytes() for row in to_uint8(vectors))

    def _trained(self, rows: sqlite3.Connection, index: Any) -> Any:
        """The index itself, or one of product codes when there are rows enough to train it."""
        if self.generation.parameters["faiss"]["index"] == "flat":
            return index
        count = index.ntotal
        lists = getattr(index, "nlist", 0)
        # How many of the rows were there when the codes were trained: numbers only grow.
        (seen,) = rows.execute(statement("sqlite/faiss/count_seen")).fetchone()
        known = lists and seen * _GROWS >= count and not is_outgrown(lists, count, _GROWS)
        if count < TRAINS_FROM or known:
            return index
        return _product_codes(rows, self.generation.dimension, count)


def _made(dimension: int, factory: str) -> Any:
    faiss = load()
    return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)


def _product_codes(rows: sqlite3.Connection, dimension: int, count: int) -> Any:
    """An inverted file of product codes over all stored vectors, trained on some of them."""
    size = next(size for size in range(_NUMBERS_OF_A_BYTE, 0, -1) if dimension % size == 0)
    index = _made(dimension, f"IVF{lists_of(count)},PQ{dimension // size}x8")
    # For comparing codes by their bits, which is not done here, and takes most of the time.
    index.do_polysemous_training = False
    sample = rows.execute(statement("sqlite/faiss/sample"), {"size": _TRAINS_ON}).fetchall()
    with all_processors():
        index.train(_restored([vector for (vector,) in sample], dimension))
    stored = rows.execute("select number, vector from entries")
    while batch := stored.fetchmany(_BATCH):
        numbers, vectors = zip(*batch, strict=True)
        index.add_with_ids(_restored(vectors, dimension), np.asarray(numbers, dtype=np.int64))
    (last,) = rows.execute(statement("sqlite/faiss/last_number")).fetchone()
    rows.execute(f"pragma user_version = {last}")
    return index


def _nearest(
    index: Any, vector: Matrix, k: int, passing: Numbers | None, probes: int = 0
) -> tuple[Numbers, NDArray[np.float32]]:
    """The numbers of the `k` nearest among `passing`, or fewer, with their inner products."""
    faiss = load()
    chosen: dict[str, Any] = {"nprobe": probes} if probes else {}
    if passing is not None:
        chosen["sel"] = faiss.IDSelectorBatch(passing)
    kind = faiss.SearchParametersIVF if probes else faiss.SearchParameters
    products, numbers = index.search(vector, min(k, index.ntotal), params=kind(**chosen))
    present = numbers[0] >= 0
    return numbers[0][present], products[0][present]


def _nearest_by_codes(
    rows: sqlite3.Connection, index: Any, vector: Matrix, k: int, passing: Numbers | None
) -> tuple[Numbers, NDArray[np.float32]]:
    share = 1.0 if passing is None else len(passing) / index.ntotal
    probes = probes_of(index.nlist, share)
    numbers, _ = _nearest(index, vector, candidates_of(k), passing, probes)
    if len(numbers) < k and probes < index.nlist:
        numbers, _ = _nearest(index, vector, candidates_of(k), passing, index.nlist)
    vectors = unit(_restored(_looked_up(rows, "vectors", numbers), index.d))
    cosines = vectors @ vector[0]
    best = np.argsort(-cosines)[:k]
    return numbers[best], cosines[best]


def _numbers(rows: sqlite3.Connection, chunk_ids: Sequence[str]) -> Numbers:
    selected = rows.execute(
        statement("sqlite/faiss/numbers"), {"chunk_ids": json.dumps(list(chunk_ids))}
    )
    return np.fromiter((number for (number,) in selected), dtype=np.int64)


def _looked_up(rows: sqlite3.Connection, what: str, numbers: Numbers) -> list[Any]:
    """The `vectors` or the `chunk_ids` of these numbers, in their order."""
    asked = numbers.tolist()
    query = statement(f"sqlite/faiss/{what}")
    of_number = dict(rows.execute(query, {"numbers": json.dumps(asked)}).fetchall())
    return [of_number[number] for number in asked]


def _restored(stored: Sequence[bytes], dimension: int) -> Matrix:
    return from_uint8(np.frombuffer(b"".join(stored), dtype=uint8_rows(dimension)))
