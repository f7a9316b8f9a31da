"""Recall of the vector indexes, against exact search over all vectors of the space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml_assets.embeddings.quantization import unit, unpack_halves
from ml_assets.search.generation import on_vectors
from ml_assets.search.indexes.contract import VectorIndex
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

SAMPLE = 200
_BLOCK = 4096
_EQUAL = 1e-5
"""Cosines that differ less are ties, by the rounding of float32."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RecallReport:
    """recall@k by index, over how many sampled vectors, and over how many judged queries.

    `reached` is the part of the sampled vectors that an index finds by themselves; `judged_recall`
    is empty without judged queries.
    """

    recall: dict[str, float]
    sampled: int
    reached: dict[str, float] = field(default_factory=dict)
    judged_recall: dict[str, float] = field(default_factory=dict)
    judged: int = 0


def recall_against_exact(
    connection: postgres.Connection,
    generation: Generation,
    indexes: Mapping[str, VectorIndex],
    judged: Matrix | None = None,
    *,
    sample: int = SAMPLE,
    k: int = 10,
    seed: int = 0,
) -> RecallReport:
    """Measure recall@k of each index on `sample` live vectors, the same ones for a given seed.

    A sampled vector is asked for its neighbours; itself does not count for the recall. It is
    reached when it is among the first `k` of its own vector, or another of the same cosine is. The
    vectors of judged queries, of shape (queries, dimension), are asked too, `sample` at most.

    A neighbour is right when it is as near as the k-th nearest by exact search, so that which one
    of several equal texts an index returns makes no difference (as in ann-benchmarks).
    """
    ids, queries = _sample(connection, generation, sample, seed)
    if not ids:
        ones = dict.fromkeys(indexes, 1.0)
        return RecallReport(ones, 0, dict(ones))
    live = len(ids)
    if judged is not None:
        chosen = np.random.default_rng(seed).permutation(len(judged))[:sample]
        queries = np.vstack([queries, unit(judged[chosen])])
    nearest = {
        name: [list(index.query(query, k + 1).chunk_ids) for query in queries]
        for name, index in indexes.items()
    }
    scan = _scan(connection, generation, ids, queries, k, nearest)
    neighbours = {
        name: [_others(row, ids, number)[:k] for number, row in enumerate(rows)]
        for name, rows in nearest.items()
    }
    return RecallReport(
        {name: scan.recall(rows, range(live)) for name, rows in neighbours.items()},
        live,
        {name: scan.reached(rows, range(live), k) for name, rows in nearest.items()},
        {name: scan.recall(rows, range(live, len(queries))) for name, rows in neighbours.items()}
        if len(queries) > live
        else {},
        len(queries) - live,
    )


@dataclass(frozen=True, slots=True)
class _Scan:
    """The cosines of exact search, for each query and each chunk that an index gave."""

    kth: Matrix
    wanted: NDArray[np.int64]
    similarities: Mapping[tuple[int, str], float]

    def recall(self, rows: Sequence[Sequence[str]], queries: range) -> float:
        right = sum(
            self.similarities.get((query, chunk_id), -np.inf) >= self.kth[query] - _EQUAL
            for query in queries
            for chunk_id in rows[query]
        )
        wanted = int(self.wanted[queries.start : queries.stop].sum())
        return float(right / wanted) if wanted else 1.0

    def reached(self, rows: Sequence[Sequence[str]], queries: range, k: int) -> float:
        """Its own cosine is 1, and that of an equal vector, too."""
        reached = sum(
            any(
                self.similarities.get((query, one), -np.inf) >= 1 - _EQUAL
                for one in rows[query][:k]
            )
            for query in queries
        )
        return reached / len(queries)


def _others(neighbours: Sequence[str], ids: Sequence[str], number: int) -> list[str]:
    """The neighbours by an index, without the chunk that was asked for itself."""
    own = ids[number] if number < len(ids) else None
    return [chunk_id for chunk_id in neighbours if chunk_id != own]


def _sample(
    connection: postgres.Connection, generation: Generation, size: int, seed: int
) -> tuple[list[str], Matrix]:
    rows = connection.execute(
        on_vectors(generation, statement("postgres/search/evaluation/sample_vectors")),
        {"seed": str(seed), "size": size},
        binary=True,
    ).fetchall()
    vectors = np.asarray([embedding.to_numpy() for _, embedding in rows], dtype=np.float32)
    return [chunk_id for chunk_id, _ in rows], unit(vectors) if rows else vectors


def _scan(
    connection: postgres.Connection,
    generation: Generation,
    ids: Sequence[str],
    queries: Matrix,
    k: int,
    nearest: Mapping[str, Sequence[Sequence[str]]],
) -> _Scan:
    """One pass over all vectors, block by block; the first `queries` are the vectors of `ids`.

    Gives the k-th best cosine of each query, how many neighbours it can have, and the cosine of
    each chunk that an index gave.
    """
    asked: dict[str, set[int]] = {}
    for rows in nearest.values():
        for query, neighbours in enumerate(rows):
            for neighbour in neighbours:
                asked.setdefault(neighbour, set()).add(query)
    row_of = {chunk_id: row for row, chunk_id in enumerate(ids)}
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    available = np.zeros(len(queries), dtype=np.int64)
    similarities: dict[tuple[int, str], float] = {}
    for block_ids, block in _blocks(connection, generation):
        cosines = queries @ block.T
        named = [(at, one) for at, one in enumerate(block_ids) if one in asked or one in row_of]
        for column, chunk_id in named:
            for query in asked.get(chunk_id, ()):
                similarities[query, chunk_id] = float(cosines[query, column])
            if chunk_id in row_of:
                cosines[row_of[chunk_id], column] = -np.inf
        available += np.isfinite(cosines).sum(axis=1)
        best = -np.partition(-np.hstack([best, cosines]), k - 1, axis=1)[:, :k]
    kth = np.where(np.isfinite(best), best, np.inf).min(axis=1)
    return _Scan(kth, np.minimum(available, k), similarities)


def _blocks(
    connection: postgres.Connection, generation: Generation
) -> Iterator[tuple[Sequence[str], Matrix]]:
    # The vectors as the bytes they are sent in: as an object each, they took 1.6 s for 145,000.
    query = on_vectors(generation, "select chunk_id, halfvec_send(embedding) from {partition}")
    for rows in postgres.read_batches(connection, query, size=_BLOCK, binary=True):
        ids, packed = zip(*rows, strict=True)
        yield ids, unit(unpack_halves(packed))
