"""Measuring a generation: what was measured, on which state, and whether it must be again."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from ml_assets.documents.sources.base import JudgedQueries, JudgedQuery
from ml_assets.search.engine import Engine, check_space, document_rankings
from ml_assets.search.evaluation import K, Metrics, evaluate_queries, ndcg
from ml_assets.search.exact import recall_against_exact
from ml_assets.search.fusion import reciprocal_rank_fusion
from ml_assets.search.model import Generation, VectorIndex
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from ml_assets.embeddings.encoder import Encoder

VERSION = 1
"""Raise it when the measuring changes, so that generations are measured again."""

KEYWORD_WEIGHTS = (1.0, 0.75, 1.5, 0.5, 2.0, 0.25)
"""Weights of the keyword ranking, beside 1 for the vector ranking, in order of preference."""

MIN_TUNING_QUERIES = 50
"""With fewer judged queries to tune on, both rankings weigh the same."""

Rankings = Mapping[str, Mapping[str, Sequence[str]]]
"""Query id to the name of an index to the documents it ranks."""


def evaluation_state(
    generation: Generation,
    versions: Mapping[str, str],
    judged: JudgedQueries | None,
    vector_index: str,
) -> str:
    """A hash over all that the measurements depend on: same state, same result.

    `versions` are the content versions of the indexes (`SyncReport.version`).
    """
    parts = (VERSION, generation.generation_id, sorted(versions.items()), judged, vector_index)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def evaluate_generation(
    engine: Engine,
    vector_indexes: Mapping[str, VectorIndex],
    judged: JudgedQueries | None,
    load: Callable[[], Encoder],
    *,
    state: str,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure recall against exact search, and every method on the judged queries.

    `load` is called only when there are judged queries. The result is JSON: `state`, `recall` by
    index, `sampled`, `methods` (method → half → metrics), `weights` of the fusion,
    `judged_queries`, `missing_documents` (judged, but not in the corpus), `k` and `seconds`.

    Raises:
        SpaceMismatchError: the loaded encoder is of another space than the generation.
    """
    started = time.perf_counter()
    rankings = rank_all(engine, judged, load) if judged else {}
    weights = tune_weights(rankings, judged or ())
    measured = recall_against_exact(
        engine.connection, engine.generation, vector_indexes, k=K, seed=seed
    )
    return {
        "state": state,
        "k": K,
        "recall": measured.recall,
        "sampled": measured.sampled,
        "methods": evaluate_methods(rankings, judged, weights) if judged else {},
        "weights": weights,
        "judged_queries": len(judged or ()),
        "missing_documents": _count_missing(engine.connection, judged or ()),
        "seconds": round(time.perf_counter() - started, 3),
    }


def rank_all(
    engine: Engine, judged: Sequence[JudgedQuery], load: Callable[[], Encoder]
) -> Rankings:
    """Ask both indexes every judged query; one encoding for all of them.

    Raises:
        SpaceMismatchError: the loaded encoder is of another space than the generation.
    """
    encoder = load()
    check_space(engine.generation, encoder)
    vectors = encoder.encode([query.text for query in judged])
    return {
        query.query_id: document_rankings(engine, query.text, vector)
        for query, vector in zip(judged, vectors, strict=True)
    }


def tune_weights(rankings: Rankings, judged: Sequence[JudgedQuery]) -> dict[str, float]:
    """Choose fusion weights by nDCG on the tuning half.

    The keyword weight is the nearest to 1 that is not worse than the best by more than one standard
    error of the difference over queries, so that noise does not move it.

    Source: the one-standard-error rule of L. Breiman et al., "Classification and Regression Trees".
    """
    tuning = [query for query in judged if query.half == "tuning"]
    if len(tuning) < MIN_TUNING_QUERIES:
        return {"keyword": 1.0, "vector": 1.0}
    quality = {
        weight: [
            ndcg(_fused(rankings[query.query_id], {"keyword": weight}), query.relevant)
            for query in tuning
        ]
        for weight in KEYWORD_WEIGHTS
    }
    best = max(quality.values(), key=fmean)
    chosen = next(w for w in KEYWORD_WEIGHTS if _within_one_error(best, quality[w]))
    return {"keyword": chosen, "vector": 1.0}


def _within_one_error(best: Sequence[float], other: Sequence[float]) -> bool:
    losses = [high - low for high, low in zip(best, other, strict=True)]
    return fmean(losses) <= stdev(losses) / math.sqrt(len(losses))


def evaluate_methods(
    rankings: Rankings, judged: Sequence[JudgedQuery], weights: Mapping[str, float]
) -> dict[str, dict[str, Metrics]]:
    """The mean metrics of every method, by half of the judged queries."""
    runs: dict[str, Callable[[JudgedQuery], Sequence[str]]] = {
        "hybrid": lambda query: _fused(rankings[query.query_id], weights),
        "vector": lambda query: rankings[query.query_id]["vector"],
        "keyword": lambda query: rankings[query.query_id]["keyword"],
    }
    return {method: evaluate_queries(run, judged) for method, run in runs.items()}


def _fused(rankings: Mapping[str, Sequence[str]], weights: Mapping[str, float]) -> list[str]:
    return [document_id for document_id, _ in reciprocal_rank_fusion(rankings, weights)]


def _count_missing(connection: postgres.Connection, judged: Sequence[JudgedQuery]) -> int:
    """Judged documents that the corpus does not have: no method can find them."""
    wanted = sorted({document_id for query in judged for document_id in query.relevant})
    row = postgres.run(
        connection, statement("postgres/search/count_missing"), {"document_ids": wanted}
    ).fetchone()
    return int(row[0]) if row else 0
