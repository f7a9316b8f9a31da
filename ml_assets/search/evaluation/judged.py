"""The judged queries of a source, and the metrics of every method on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ml_assets.documents.sources.base import JudgedQueries, JudgedQuery
from ml_assets.search.answering.engine import MAX_K, check_space, search_vector
from ml_assets.search.answering.model import Engine
from ml_assets.search.answering.ranking import (
    fuse_documents,
    query_both,
    query_moved,
    score_documents,
)
from ml_assets.search.evaluation.bootstrap import compare, mean_metrics, metric_intervals
from ml_assets.search.evaluation.measurement import Interval, MethodQuality
from ml_assets.search.evaluation.metrics import NDCG, Metrics, evaluate_ranking
from ml_assets.search.evaluation.tuning import MIN_QUERIES, FeedbackChoice, ScoresBy, fused_by
from ml_assets.search.model import Vector
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from ml_assets.embeddings.encoder import Encoder

RERANKED = "reranked"
"""The name of the hybrid method after the cross-encoder."""

Results = Mapping[str, Mapping[str, Metrics]]
"""Method, then query id, then metrics."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A judged query, its vector, and the documents that the indexes score for it."""

    query: JudgedQuery
    vector: Vector
    scores: ScoresBy


def query_judged(
    engine: Engine,
    judged: JudgedQueries,
    load: Callable[[], Encoder],
    feedback: FeedbackChoice = "auto",
) -> list[Answer]:
    """Query both indexes for every judged query, and the moved query where feedback may serve.

    One encoding for all; no text is read, so that measuring is cheap.

    Raises:
        SpaceMismatchError: the loaded encoder is of another space than the generation.
    """
    encoder = load()
    check_space(engine.generation, encoder)
    vectors = encoder.encode([query.text for query in judged])
    tuning = sum(query.half == "tuning" for query in judged)
    again = feedback == "on" or (feedback == "auto" and tuning >= MIN_QUERIES)
    return [
        Answer(query, vector, _query(engine, query.text, vector, again))
        for query, vector in zip(judged, vectors, strict=True)
    ]


def half_of(asked: Sequence[Answer], half: Literal["tuning", "reporting"]) -> list[Answer]:
    """The queries of one half that have an answer, as trec_eval counts them."""
    return [
        one
        for one in asked
        if one.query.half == half and any(grade > 0 for grade in one.query.relevant.values())
    ]


def present_documents(connection: postgres.Connection, asked: Sequence[Answer]) -> set[str]:
    """The judged documents that the corpus has."""
    judged = sorted({document_id for one in asked for document_id in one.query.relevant})
    query = statement("postgres/search/evaluation/judged_documents")
    return {name for (name,) in connection.execute(query, {"document_ids": judged})}


def measure_methods(
    engine: Engine, halves: Mapping[str, Sequence[Answer]], seed: int
) -> MethodQuality:
    """Measure every method on the queries of each half that has any."""
    results = {half: evaluate_methods(engine, asked) for half, asked in halves.items() if asked}
    methods: dict[str, dict[str, Metrics]] = {}
    intervals: dict[str, dict[str, Mapping[str, Interval]]] = {}
    for half, by_method in results.items():
        for method, by_query in by_method.items():
            rows = list(by_query.values())
            methods.setdefault(method, {})[half] = mean_metrics(rows)
            intervals.setdefault(method, {})[half] = metric_intervals(rows, seed)
    if "reporting" not in results:
        return MethodQuality(methods, intervals)
    ndcg = _ndcg(results["reporting"])
    comparison = compare(ndcg, "hybrid", ("vector", "keyword"), seed)
    return MethodQuality(methods, intervals, ndcg, comparison)


def evaluate_methods(engine: Engine, asked: Sequence[Answer]) -> Results:
    """The metrics of every method on every query, as the engine's fusion fuses."""
    fusion, by_id = engine.fusion, {one.query.query_id: one for one in asked}
    queries = [one.query for one in asked]

    def hybrid(query: JudgedQuery) -> list[str]:
        fused = fuse_documents(fused_by(by_id[query.query_id].scores, fusion.feedback), fusion)
        return [document_id for document_id, _ in fused]

    def reranked(query: JudgedQuery) -> list[str]:
        hits = search_vector(engine, query.text, by_id[query.query_id].vector, k=MAX_K).hits
        return [hit.document_id for hit in hits]

    runs: dict[str, Callable[[JudgedQuery], Sequence[str]]] = {
        "hybrid": hybrid,
        "vector": lambda query: list(by_id[query.query_id].scores["vector"].scores),
        "keyword": lambda query: list(by_id[query.query_id].scores["keyword"].scores),
    }
    if engine.reranker:
        runs[RERANKED] = reranked
    return {
        method: {q.query_id: evaluate_ranking(run(q), q.relevant) for q in queries}
        for method, run in runs.items()
    }


def _query(engine: Engine, text: str, vector: Vector, again: bool) -> ScoresBy:
    rankings = query_both(engine, text, vector)
    if again:
        rankings["feedback"] = query_moved(engine, rankings, vector)
    return {name: score_documents(ranking) for name, ranking in rankings.items()}


def _ndcg(results: Results) -> dict[str, dict[str, float]]:
    return {
        method: {query_id: metrics[NDCG] for query_id, metrics in by_query.items()}
        for method, by_query in results.items()
    }
