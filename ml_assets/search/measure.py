"""Measuring a generation: what was measured, on which state, and whether it must be again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_assets.documents.sources.base import JudgedQueries, JudgedQuery
from ml_assets.search.engine import Engine, check_space, rank_documents
from ml_assets.search.evaluation import K, Metrics, evaluate_queries
from ml_assets.search.exact import recall_against_exact
from ml_assets.search.model import METHODS, Generation, Method, Vector, VectorIndex
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from ml_assets.embeddings.encoder import Encoder

VERSION = 1
"""Raise it when the measuring changes, so that generations are measured again."""


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
    index, `sampled`, `methods` (method → half → metrics), `judged_queries`, `missing_documents`
    (judged, but not in the corpus), `k` and `seconds`.

    Raises:
        SpaceMismatchError: the loaded encoder is of another space than the generation.
    """
    started = time.perf_counter()
    measured = recall_against_exact(
        engine.connection, engine.generation, vector_indexes, k=K, seed=seed
    )
    return {
        "state": state,
        "k": K,
        "recall": measured.recall,
        "sampled": measured.sampled,
        "methods": evaluate_methods(engine, judged, load) if judged else {},
        "judged_queries": len(judged or ()),
        "missing_documents": _count_missing(engine.connection, judged or ()),
        "seconds": round(time.perf_counter() - started, 3),
    }


def evaluate_methods(
    engine: Engine, judged: Sequence[JudgedQuery], load: Callable[[], Encoder]
) -> dict[Method, dict[str, Metrics]]:
    """The mean metrics of every method on the judged queries, by half; one encoding for all.

    Raises:
        SpaceMismatchError: the loaded encoder is of another space than the generation.
    """
    encoder = load()
    check_space(engine.generation, encoder)
    encoded = encoder.encode([query.text for query in judged])
    vectors: dict[str, Vector] = {
        query.query_id: vector for query, vector in zip(judged, encoded, strict=True)
    }

    def ranking_by(method: Method) -> Callable[[JudgedQuery], Sequence[str]]:
        return lambda query: rank_documents(engine, query.text, vectors[query.query_id], method, K)

    return {method: evaluate_queries(ranking_by(method), judged) for method in METHODS}


def _count_missing(connection: postgres.Connection, judged: Sequence[JudgedQuery]) -> int:
    """Judged documents that the corpus does not have: no method can find them."""
    wanted = sorted({document_id for query in judged for document_id in query.relevant})
    row = postgres.run(
        connection, statement("postgres/search/count_missing"), {"document_ids": wanted}
    ).fetchone()
    return int(row[0]) if row else 0
