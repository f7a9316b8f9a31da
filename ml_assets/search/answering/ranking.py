"""Ranking documents for a query: indexes are queried for chunks, and their rankings fused."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np

from ml_assets.search.answering.fusion import Scores, fuse
from ml_assets.search.answering.model import Engine, Method
from ml_assets.search.filters.language import NO_FILTER, Condition
from ml_assets.search.generation import on_vectors
from ml_assets.search.indexes.contract import Ranking
from ml_assets.search.indexes.kinds import NO_LEAST, query_index
from ml_assets.search.model import DEFAULT_FUSION, Fusion, Vector
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

DEPTH = 70
"""Chunks asked of each index."""

FEEDBACK_DOCUMENTS = 2
FEEDBACK_WEIGHT = 0.6
"""How many documents move the query, and how far; chosen on Cranfield and `python_docs` among 1, 2,
3, 5 and 10 documents, and weights from 0.3 to 1."""

Rankings = Mapping[str, Ranking]
"""The ranking of each index for one query, by its name: `keyword`, `vector`."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Documents, best first, with their score, their rank by index, and their best chunk.

    `scores` are those of the indexes for the query itself, which feedback does not move.
    """

    documents: Sequence[tuple[str, float]]
    ranks: Mapping[str, Mapping[str, int]]
    scores: Mapping[str, Mapping[str, float]]
    chunks: Mapping[str, str]
    exhausted: bool


def rank_documents(
    engine: Engine,
    query: str,
    vector: Vector | None,
    method: Method,
    filters: Condition,
    depth: int,
    least: float = NO_LEAST,
    matching: Ranking | None = None,
) -> Ranked:
    """Rank the documents that pass the filter, by one index or by both, as the engine fuses.

    `vector` may be None for "keyword". Of a document with another `least` cosine than `NO_LEAST`,
    the nearest chunk has at least that. `matching`: what the keyword index has answered already.
    """
    if method == "keyword" or vector is None:
        if matching is None:
            matching = query_index(engine.connection, engine.keyword, query, depth, filters)
        rankings = {"keyword": matching}
    elif method == "vector":
        nearest = query_index(engine.connection, engine.vector, vector, depth, filters, least)
        rankings = {"vector": nearest}
    else:
        rankings = query_both(engine, query, vector, filters, depth, least, matching)
    scores = {name: score_documents(ranking).scores for name, ranking in rankings.items()}
    if method == "hybrid" and vector is not None:
        nearest = rankings["vector"]
        if engine.fusion.feedback:
            rankings["vector"] = rank_moved(engine, rankings, vector)
        if least > NO_LEAST:
            rankings = _near(engine, rankings, nearest, vector, least)
    by_index = {name: score_documents(ranking) for name, ranking in rankings.items()}
    ranks = {
        name: {document_id: rank for rank, document_id in enumerate(scored.scores, start=1)}
        for name, scored in by_index.items()
    }
    return Ranked(
        fuse_documents(by_index, engine.fusion),
        ranks,
        scores,
        _best_chunks(rankings),
        all(ranking.exhausted for ranking in rankings.values()),
    )


def query_both(
    engine: Engine,
    query: str,
    vector: Vector,
    filters: Condition = NO_FILTER,
    depth: int = DEPTH,
    least: float = NO_LEAST,
    matching: Ranking | None = None,
) -> dict[str, Ranking]:
    """Query both indexes at a time, for `depth` chunks each, of vectors with the `least` cosine.

    With what is `matching` by words given, the vector index alone.
    """
    if matching is not None:
        nearest = query_index(engine.connection, engine.vector, vector, depth, filters, least)
        return {"keyword": matching, "vector": nearest}
    # The vectors in the other thread, which mostly waits for PostgreSQL.
    beside = engine.beside.submit(
        query_index, engine.connection, engine.vector, vector, depth, filters, least
    )
    try:
        matching = query_index(engine.connection, engine.keyword, query, depth, filters)
    finally:
        wait([beside])  # an error leaves no query behind
    return {"keyword": matching, "vector": beside.result()}


def rank_moved(engine: Engine, rankings: Rankings, vector: Vector) -> Ranking:
    """Rank what was found by the vector moved towards the first documents of `rankings`.

    These are the first by the default fusion, each by its best chunk, whatever fusion was tuned.
    Nothing is looked for anew: what both indexes left out would hardly be among the first.

    Source: J. Rocchio, "Relevance feedback in information retrieval", 1971, without its negative
    part: the query plus `FEEDBACK_WEIGHT` times the mean of the first vectors.
    """
    by_index = {name: score_documents(ranking) for name, ranking in rankings.items()}
    first = fuse_documents(by_index, DEFAULT_FUSION)[:FEEDBACK_DOCUMENTS]
    best = {**_first_chunks(rankings["keyword"]), **_first_chunks(rankings["vector"])}
    found = dict.fromkeys(chain(rankings["vector"].chunk_ids, rankings["keyword"].chunk_ids))
    text = on_vectors(engine.generation, statement("postgres/search/answering/moved_cosines"))
    bound = {
        "query": vector,
        "weights": np.full_like(vector, FEEDBACK_WEIGHT),
        "first": postgres.text_array([best[document_id] for document_id, _ in first]),
        "chunk_ids": postgres.text_array(found),
    }
    rows = engine.connection.execute(text, bound, binary=True).fetchall()
    scored = ((cosine, chunk_id) for chunk_id, cosine in rows)
    return Ranking.best_first(scored, exhausted=rankings["vector"].exhausted)


def cosines_of(engine: Engine, vector: Vector, chunk_ids: Sequence[str]) -> dict[str, float]:
    """The cosine of a query's vector to each of these chunks that has a vector."""
    from pgvector import HalfVector

    text = on_vectors(engine.generation, statement("postgres/search/answering/cosines"))
    bound = {"chunk_ids": postgres.text_array(chunk_ids), "vector": HalfVector(vector)}
    return dict(engine.connection.execute(text, bound).fetchall())


def score_documents(ranking: Ranking) -> Scores:
    """The documents of a ranking of chunks, each with the score of its best chunk.

    Adding a part of the second-best chunk's score lost on the tuning halves of all benchmarks.
    """
    scores = {name: ranking.scores[place] for name, place in ranking.documents.items()}
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
    return {name: ranking.chunk_ids[place] for name, place in ranking.documents.items()}


def _document(chunk_id: str) -> str:
    return chunk_id.rpartition("#")[0]


def _near(
    engine: Engine, rankings: Rankings, nearest: Ranking, vector: Vector, least: float
) -> dict[str, Ranking]:
    """What the rankings have of documents that are near enough.

    These are the `nearest`, down to the least cosine; if that was not reached, also others of which
    the chunk that was found has it.
    """
    near = _first_chunks(nearest)
    if not nearest.exhausted:
        found = [chunk for name, chunk in _best_chunks(rankings).items() if name not in near]
        cosines = cosines_of(engine, vector, found)
        near |= {_document(chunk): chunk for chunk in found if cosines.get(chunk, -1.0) >= least}
    kept = {name: _only(ranking, near, nearest.exhausted) for name, ranking in rankings.items()}
    ranked = _first_chunks(kept["vector"])
    # A moved query has others among its first; what it lacks is the last.
    lacking = [chunk for chunk in nearest.chunk_ids if _document(chunk) not in ranked]
    floor = min(kept["vector"].scores, default=0.0)
    kept["vector"] = Ranking(
        [*kept["vector"].chunk_ids, *lacking],
        [*kept["vector"].scores, *([floor] * len(lacking))],
        nearest.exhausted,
    )
    return kept


def _only(ranking: Ranking, documents: Container[str], exhausted: bool) -> Ranking:
    pairs = zip(ranking.chunk_ids, ranking.scores, strict=True)
    kept = [(chunk_id, score) for chunk_id, score in pairs if _document(chunk_id) in documents]
    return Ranking([name for name, _ in kept], [score for _, score in kept], exhausted)


def _best_chunks(rankings: Rankings) -> dict[str, str]:
    """The chunk that shows a document: its first one in the ranking that ranks it best."""
    by_rank = zip_longest(*(_first_chunks(ranking).items() for ranking in rankings.values()))
    best: dict[str, str] = {}
    for document_id, chunk_id in filter(None, chain.from_iterable(by_rank)):
        best.setdefault(document_id, chunk_id)
    return best
