"""Ranking documents for a query: indexes are queried for chunks, and their rankings fused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np

from ml_assets.search.answering.fusion import Scores, fuse
from ml_assets.search.answering.model import Engine, Method
from ml_assets.search.filters.language import NO_FILTER, Condition
from ml_assets.search.generation import on_vectors
from ml_assets.search.indexes.contract import Ranking
from ml_assets.search.indexes.kinds import query_index
from ml_assets.search.model import DEFAULT_FUSION, Fusion, Vector
from ml_assets.stores.sql import statement

DEPTH = 100
"""Chunks asked of each index."""

FEEDBACK_DOCUMENTS = 3
FEEDBACK_WEIGHT = 0.5
"""How many documents move the query, and how far; chosen on the tuning halves of SciFact, Cranfield
and `python_docs` among 2, 3 and 5 documents, and 0.3, 0.5 and 1."""

Rankings = Mapping[str, Ranking]
"""The ranking of each index for one query, by its name: `keyword`, `vector`."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Documents, best first, with their score, their rank by index, and their best chunk."""

    documents: Sequence[tuple[str, float]]
    ranks: Mapping[str, Mapping[str, int]]
    chunks: Mapping[str, str]
    exhausted: bool


def rank_documents(
    engine: Engine,
    query: str,
    vector: Vector | None,
    method: Method,
    filters: Condition,
    depth: int,
) -> Ranked:
    """Rank the documents that pass the filter, by one index or by both, as the engine fuses.

    `vector` may be None for "keyword".
    """
    if method == "keyword" or vector is None:
        matching = query_index(engine.connection, engine.keyword, query, depth, filters)
        rankings = {"keyword": matching}
    elif method == "vector":
        nearest = query_index(engine.connection, engine.vector, vector, depth, filters)
        rankings = {"vector": nearest}
    else:
        rankings = query_both(engine, query, vector, filters, depth)
        if engine.fusion.feedback:
            rankings["vector"] = query_moved(engine, rankings, vector, filters, depth)
    by_index = {name: score_documents(ranking) for name, ranking in rankings.items()}
    ranks = {
        name: {document_id: rank for rank, document_id in enumerate(scored.scores, start=1)}
        for name, scored in by_index.items()
    }
    return Ranked(
        fuse_documents(by_index, engine.fusion),
        ranks,
        _best_chunks(rankings),
        all(ranking.exhausted for ranking in rankings.values()),
    )


def query_both(
    engine: Engine, query: str, vector: Vector, filters: Condition = NO_FILTER, depth: int = DEPTH
) -> dict[str, Ranking]:
    """Query both indexes at a time, for `depth` chunks each."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        # The vectors in the other thread, which mostly waits for PostgreSQL.
        nearest = pool.submit(query_index, engine.connection, engine.vector, vector, depth, filters)
        matching = query_index(engine.connection, engine.keyword, query, depth, filters)
        return {"keyword": matching, "vector": nearest.result()}


def query_moved(
    engine: Engine,
    rankings: Rankings,
    vector: Vector,
    filters: Condition = NO_FILTER,
    depth: int = DEPTH,
) -> Ranking:
    """Query the vector index with the vector moved towards the first documents of `rankings`.

    These are the first by the default fusion, each by its best chunk, whatever fusion was tuned.
    """
    return query_index(
        engine.connection, engine.vector, moved_query(engine, rankings, vector), depth, filters
    )


def moved_query(engine: Engine, rankings: Rankings, vector: Vector) -> Vector:
    """The vector moved towards the first documents of `rankings`, for feedback."""
    by_index = {name: score_documents(ranking) for name, ranking in rankings.items()}
    first = fuse_documents(by_index, DEFAULT_FUSION)[:FEEDBACK_DOCUMENTS]
    chunks = {**_first_chunks(rankings["keyword"]), **_first_chunks(rankings["vector"])}
    text = on_vectors(engine.generation, statement("postgres/search/answering/mean_vector"))
    bound = {"chunk_ids": [chunks[document_id] for document_id, _ in first]}
    ((mean,),) = engine.connection.execute(text, bound, binary=True).fetchall()
    return vector if mean is None else rocchio(vector, mean.to_numpy())


def rocchio(query: Vector, mean: Vector, weight: float = FEEDBACK_WEIGHT) -> Vector:
    """The query plus `weight` times the mean of the first vectors, at unit norm.

    Source: J. Rocchio, "Relevance feedback in information retrieval", 1971, without its negative
    part.
    """
    moved = query + weight * mean
    unit: Vector = (moved / np.linalg.norm(moved)).astype(np.float32)
    return unit


def score_documents(ranking: Ranking) -> Scores:
    """The documents of a ranking of chunks, each with the score of its best chunk.

    Adding a part of the second-best chunk's score lost on the tuning halves of all benchmarks.
    """
    score_of = dict(zip(ranking.chunk_ids, ranking.scores, strict=True))
    scores = {name: score_of[chunk_id] for name, chunk_id in _first_chunks(ranking).items()}
    # Where nothing was left out, what is missing has no word of the query.
    floor = 0.0 if ranking.exhausted else min(ranking.scores, default=0.0)
    return Scores(scores, floor)


def fuse_documents(by_index: Mapping[str, Scores], fusion: Fusion) -> list[tuple[str, float]]:
    """Documents with their score, best first; those of a single index keep its own scores."""
    if len(by_index) == 1:
        (only,) = by_index.values()
        return list(only.scores.items())
    return fuse(by_index, fusion.weights, fusion.method)


def _first_chunks(ranking: Ranking) -> dict[str, str]:
    """Documents in the order of their first chunk, with that chunk."""
    first: dict[str, str] = {}
    for chunk_id in ranking.chunk_ids:
        first.setdefault(chunk_id.rpartition("#")[0], chunk_id)
    return first


def _best_chunks(rankings: Rankings) -> dict[str, str]:
    """The chunk that shows a document: its first one in the ranking that ranks it best."""
    by_rank = zip_longest(*(_first_chunks(ranking).items() for ranking in rankings.values()))
    best: dict[str, str] = {}
    for document_id, chunk_id in filter(None, chain.from_iterable(by_rank)):
        best.setdefault(document_id, chunk_id)
    return best
