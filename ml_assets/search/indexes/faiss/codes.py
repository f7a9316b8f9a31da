"""What FAISS computes: an index of product codes, and the nearest vectors.

Product codes keep a few bytes a vector in memory: of the nearest by those, the stored vectors (one
byte a number, on disk) say which are the nearest.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml_assets.embeddings.quantization import Matrix, from_uint8, to_uint8, uint8_rows, unit
from ml_assets.errors import SettingError
from ml_assets.search.indexes.sizing import candidates_of, is_outgrown, lists_of, probes_of
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from types import ModuleType

    from ml_assets.search.indexes.contract import Entry

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

_ROUNDING, _QUANTIZING = 1e-6, 0.01
"""Of squared distances between unit vectors: what rounding and what one byte a number adds."""

Numbers = NDArray[np.int64]
"""What FAISS calls its rows by; the table `entries` says which chunk each is."""

VectorOf = Callable[[int], Matrix]
"""The vector of a number, (dimension,)."""


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


def made(dimension: int, factory: str = "IDMap,Flat") -> Any:
    """An empty index that compares by the inner product."""
    faiss = load()
    return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)


def trained(rows: sqlite3.Connection, index: Any) -> Any:
    """The index itself, or one of product codes when there are rows enough to train it."""
    count, lists = index.ntotal, getattr(index, "nlist", 0)
    # How many of the rows were there when the codes were trained: numbers only grow.
    (seen,) = rows.execute(statement("sqlite/faiss/count_seen")).fetchone()
    known = lists and seen * _GROWS >= count and not is_outgrown(lists, count, _GROWS)
    return index if count < TRAINS_FROM or known else _product_codes(rows, index.d, count)


def retrained(rows: sqlite3.Connection, index: Any) -> Any:
    """The index itself, or product codes that nothing decided that is not in it any more."""
    count = index.ntotal
    coded = hasattr(index, "nlist") and count >= TRAINS_FROM
    return _product_codes(rows, index.d, count) if coded else index


def nearest(
    rows: sqlite3.Connection, index: Any, vector: Matrix, k: int, passing: Numbers | None
) -> tuple[list[str], list[float]]:
    """The `k` chunks nearest to a vector of shape (1, dimension) among `passing`, or fewer.

    With their cosines. Product codes are read in √lists of the lists, in more under a filter, and
    in all of them when that gives fewer than `k`.
    """
    lists = getattr(index, "nlist", 0)
    if not lists:
        numbers, cosines = _search(index, vector, k, passing)
        return looked_up(rows, "chunk_ids", numbers), cosines.tolist()
    probes = probes_of(lists, 1.0 if passing is None else len(passing) / index.ntotal)
    numbers, _ = _search(index, vector, candidates_of(k), passing, probes)
    if len(numbers) < k and probes < lists:
        numbers, _ = _search(index, vector, candidates_of(k), passing, lists)
    cosines = unit(_restored(looked_up(rows, "vectors", numbers), index.d)) @ vector[0]
    best = np.argsort(-cosines)[:k]
    return looked_up(rows, "chunk_ids", numbers[best]), cosines[best].tolist()


def numbers_of(rows: sqlite3.Connection, name: str, chunk_ids: Sequence[str]) -> Numbers:
    """The numbers that a statement gives for these chunks."""
    bound = {"chunk_ids": json.dumps(list(chunk_ids))}
    return np.asarray(rows.execute(statement(name), bound).fetchall(), dtype=np.int64).ravel()


def looked_up(rows: sqlite3.Connection, name: str, numbers: Numbers) -> list[Any]:
    """The `vectors` or the `chunk_ids` of these numbers, in their order."""
    asked = numbers.tolist()
    bound = {"numbers": json.dumps(asked)}
    of_number = dict(rows.execute(statement(f"sqlite/faiss/{name}"), bound).fetchall())
    if unknown := set(asked) - of_number.keys():
        raise RuntimeError(f"corrupt: vectors {sorted(unknown)[:3]} have no entries")
    return [of_number[number] for number in asked]


def altered(rows: sqlite3.Connection, index: Any, batches: Iterable[Sequence[Entry]]) -> list[str]:
    """The chunks of which the index has another vector than the entry in its revision, or none.

    A vector is another one when it is further from that of the entry than what quantizing loses.
    """
    with _by_number(index) as vector_of:
        return [name for batch in batches for name in _altered(rows, index, vector_of, batch)]


def _altered(
    rows: sqlite3.Connection, index: Any, vector_of: VectorOf, entries: Sequence[Entry]
) -> list[str]:
    expected = {entry.chunk_id: entry for entry in entries}
    bound = {"chunk_ids": json.dumps(list(expected))}
    stored = [
        (number, expected[chunk_id], vector)
        for number, chunk_id, revision, vector in rows.execute(
            statement("sqlite/faiss/entries_of"), bound
        )
        if revision == expected[chunk_id].revision
    ]
    if not stored:
        return []
    vectors = unit([entry.vector for _, entry, _ in stored])
    indexed = np.stack([vector_of(number) for number, *_ in stored])
    same = _error(indexed, vectors) <= _allowed(index, vectors)
    if hasattr(index, "nlist"):
        quantized = _restored([vector for *_, vector in stored], index.d)
        same &= np.abs(quantized - vectors).max(axis=1) <= to_uint8(vectors)["step"]
    return [entry.chunk_id for (_, entry, _), kept in zip(stored, same, strict=True) if not kept]


@contextmanager
def _by_number(index: Any) -> Iterator[VectorOf]:
    """What gives the vector that the index itself has of a number; nan where it has none.

    To know where a number is, the numbers of all are read, once.
    """
    faiss = load()
    coded = hasattr(index, "nlist")
    if coded:
        index.set_direct_map_type(faiss.DirectMap.Hashtable)
        places, vectors = None, index
    else:
        places = {number: at for at, number in enumerate(faiss.vector_to_array(index.id_map))}
        vectors = faiss.downcast_index(index.index)

    def vector_of(number: int) -> Matrix:
        try:
            vector: Matrix = vectors.reconstruct(number if places is None else places[number])
        except (KeyError, RuntimeError):  # it has no vector of this number
            return np.full(index.d, np.nan, dtype=np.float32)
        return vector

    try:
        yield vector_of
    finally:
        if coded:
            index.set_direct_map_type(faiss.DirectMap.NoMap)


def _allowed(index: Any, vectors: Matrix) -> NDArray[np.float32]:
    """How far the index may be from each vector: by product codes, as far as the best of them.

    Twice that: the vector was coded before or after it was quantized, which moves it to and fro.
    """
    if not hasattr(index, "nlist"):
        return np.full(len(vectors), _ROUNDING, dtype=np.float32)
    return 2 * _error(index.sa_decode(index.sa_encode(vectors)), vectors) + _QUANTIZING


def _error(some: Matrix, others: Matrix) -> NDArray[np.float32]:
    """The squared distance of each row to that of the other matrix."""
    squared: NDArray[np.float32] = ((some - others) ** 2).sum(axis=1)
    return squared


def _product_codes(rows: sqlite3.Connection, dimension: int, count: int) -> Any:
    """An inverted file of product codes over all stored vectors, trained on some of them."""
    size = next(size for size in range(_NUMBERS_OF_A_BYTE, 0, -1) if dimension % size == 0)
    index = made(dimension, f"IVF{lists_of(count)},PQ{dimension // size}x8")
    # For comparing codes by their bits, which is not done here, and takes most of the time.
    index.do_polysemous_training = False
    sample = rows.execute(statement("sqlite/faiss/sample"), {"size": _TRAINS_ON}).fetchall()
    faiss = load()
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    try:
        index.train(_restored([vector for (vector,) in sample], dimension))
    finally:
        faiss.omp_set_num_threads(1)
    stored = rows.execute("select number, vector from entries")
    while batch := stored.fetchmany(_BATCH):
        numbers, vectors = zip(*batch, strict=True)
        index.add_with_ids(_restored(vectors, dimension), np.asarray(numbers, dtype=np.int64))
    (last,) = rows.execute(statement("sqlite/faiss/last_number")).fetchone()
    rows.execute(f"pragma user_version = {last}")
    return index


def _search(
    index: Any, vector: Matrix, k: int, passing: Numbers | None, probes: int = 0
) -> tuple[Numbers, Matrix]:
    """The numbers of the `k` nearest among `passing`, or fewer, with their inner products."""
    faiss = load()
    chosen: dict[str, Any] = {"nprobe": probes} if probes else {}
    if passing is not None:
        chosen["sel"] = faiss.IDSelectorBatch(passing)
    kind = faiss.SearchParametersIVF if probes else faiss.SearchParameters
    products, numbers = index.search(vector, min(k, index.ntotal), params=kind(**chosen))
    present = numbers[0] >= 0
    return numbers[0][present], products[0][present]


def _restored(stored: Sequence[bytes], dimension: int) -> Matrix:
    return from_uint8(np.frombuffer(b"".join(stored), dtype=uint8_rows(dimension)))
