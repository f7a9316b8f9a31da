"""Recall of the vector indexes, against exact search, and a query whose answer is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from ml_assets.embeddings.quantization import Matrix, unit, unpack_halves
from ml_assets.search.generation import on_vectors
from ml_assets.search.indexes.contract import VectorIndex
from ml_assets.search.model import Generation, Vector
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

SAMPLE = 200
WORDS = 12
_BLOCK = 4096
_EQUAL = 1e-5
"""Cosines that differ less are ties, by the rounding of float32."""


@dataclass(frozen=True, slots=True)
class RecallReport:
    """recall@k by index, over how many sampled vectors, and on judged queries, if there are any.

    `reached` is the part of the sampled vectors that an index finds by themselves.
    """

    sampled: int
    recall: dict[str, float] = field(default_factory=dict)
    reached: dict[str, float] = field(default_factory=dict)
    judged_recall: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """The first words of a live document, and its vector."""

    document_id: str
    text: str
    vector: Vector


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
        return RecallReport(0, dict.fromkeys(indexes, 1.0), dict.fromkeys(indexes, 1.0))
    live = len(ids)
    report = RecallReport(live)
    if judged is not None:
        chosen = np.random.default_rng(seed).permutation(len(judged))[:sample]
        queries = np.vstack([queries, unit(judged[chosen])])
    nearest = {
        name: [ranking.chunk_ids for ranking in index.query_many(list(queries), k + 1)]
        for name, index in indexes.items()
    }
    kth, wanted, cosines = _scan(connection, generation, ids, queries, k, nearest)

    def count(rows: Sequence[Sequence[str]], least: Matrix) -> NDArray[np.int64]:
        near = [
            sum(cosines.get((query, name), -np.inf) >= least[query] - _EQUAL for name in row)
            for query, row in enumerate(rows)
        ]
        return np.array(near)

    for name, rows in nearest.items():
        others = [[c for c in row if c != own][:k] for row, own in zip_longest(rows, ids)]
        right = count(others, kth)
        report.recall[name] = _share(right[:live], wanted[:live])
        if len(queries) > live:
            report.judged_recall[name] = _share(right[live:], wanted[live:])
        # Its own cosine is 1, and that of an equal vector, too.
        itself = count([row[:k] for row in rows[:live]], np.ones_like(kth))
        report.reached[name] = float(np.mean(itself > 0))
    return report


def find_probe(connection: postgres.Connection, generation: Generation) -> Probe | None:
    """A query with a known answer, always the same for the same documents; None without any."""
    query = on_vectors(generation, statement("postgres/search/evaluation/find_probe"))
    row = connection.execute(query, binary=True).fetchone()
    if row is None:
        return None
    document_id, text, embedding = row
    words = " ".join(text.split()[:WORDS])
    return Probe(document_id, words, embedding.to_numpy().astype(np.float32))


def _share(right: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    return float(right.sum() / wanted.sum()) if wanted.any() else 1.0


def _sample(
    connection: postgres.Connection, generation: Generation, size: int, seed: int
) -> tuple[list[str], Matrix]:
    query = on_vectors(generation, statement("postgres/search/evaluation/sample_vectors"))
    rows = connection.execute(query, {"seed": str(seed), "size": size}, binary=True).fetchall()
    vectors = np.asarray([embedding.to_numpy() for _, embedding in rows], dtype=np.float32)
    return [chunk_id for chunk_id, _ in rows], unit(vectors) if rows else vectors


def _scan(
    connection: postgres.Connection,
    generation: Generation,
    ids: Sequence[str],
    queries: Matrix,
    k: int,
    nearest: Mapping[str, Sequence[Sequence[str]]],
) -> tuple[Matrix, NDArray[np.int64], Mapping[tuple[int, str], float]]:
    """One pass over all vectors, block by block; the first `queries` are the vectors of `ids`.

    Gives the k-th best cosine of each query, how many neighbours it can have, and the cosine of
    each chunk that an index gave.
    """
    asked: dict[str, set[int]] = {}
    for rows in nearest.values():
        for query, neighbours in enumerate(rows):
            for chunk_id in neighbours:
                asked.setdefault(chunk_id, set()).add(query)
    row_of = {chunk_id: row for row, chunk_id in enumerate(ids)}
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    available = np.zeros(len(queries), dtype=np.int64)
    similarities: dict[tuple[int, str], float] = {}
    for block_ids, block in _blocks(connection, generation):
        cosines = queries @ block.T
        for column, chunk_id in enumerate(block_ids):
            for query in asked.get(chunk_id, ()):
                similarities[query, chunk_id] = float(cosines[query, column])
            if chunk_id in row_of:
                cosines[row_of[chunk_id], column] = -np.inf
        available += np.isfinite(cosines).sum(axis=1)
        best = -np.partition(-np.hstack([best, cosines]), k - 1, axis=1)[:, :k]
    kth = np.where(np.isfinite(best), best, np.inf).min(axis=1)
    return kth, np.minimum(available, k), similarities


def _blocks(
    connection: postgres.Connection, generation: Generation
) -> Iterator[tuple[Sequence[str], Matrix]]:
    # The vectors as the bytes they are sent in: an object each would take far longer.
    query = on_vectors(generation, "select chunk_id, halfvec_send(embedding) from {partition}")
    for rows in postgres.read_batches(connection, query, size=_BLOCK, binary=True):
        ids, packed = zip(*rows, strict=True)
        yield ids, unit(unpack_halves(packed))
