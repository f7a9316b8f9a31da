"""The judged queries of a source, and the metrics of every method on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Literal

from ml_assets.documents.sources.base import JudgedQueries, JudgedQuery
from ml_assets.search.answering.engine import check_space, search_vector
from ml_assets.search.answering.model import MAX_K, Engine
from ml_assets.search.answering.ranking import (
    DEPTH,
    fuse_documents,
    rank_moved,
    score_documents,
)
from ml_assets.search.evaluation.bootstrap import compare, mean_metrics, metric_intervals
from ml_assets.search.evaluation.measurement import Interval, MethodQuality
from ml_assets.search.evaluation.metrics import NDCG, Metrics, evaluate_ranking
from ml_assets.search.evaluation.tuning import FeedbackChoice, ScoresBy, fused_by
from ml_assets.search.indexes.contract import Ranking
from ml_assets.search.model import Vector
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from ml_assets.embeddings.encoder import Encoder


_TIMED = 50
"""Judged queries that are searched for one by one, for the latency."""


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
    """Query both indexes for every judged query, and the moved query unless feedback is off.

    One encoding for all; no text is read, so that measuring is cheap.

    Raises:
        SpaceMismatchError: the loaded encoder is of another space than the generation.
    """
    encoder = load()
    check_space(engine.generation, encoder)
    texts = [query.text for query in judged]
    vectors = list(encoder.encode_queries(texts))
    matching = engine.keyword.query_many(texts, DEPTH)
    nearest = engine.vector.query_many(vectors, DEPTH)
    rankings = [
        {"keyword": keyword, "vector": vector}
        for keyword, vector in zip(matching, nearest, strict=True)
    ]
    if feedback != "off":
        moved = [*map(rank_moved, repeat(engine), rankings, vectors)]
        for by_index, again in zip(rankings, moved, strict=True):
            by_index["feedback"] = again
    for text, by_index in zip(texts, rankings, strict=True):
        if not engine.reads(text):
            by_index["unread"] = Ranking((), (), exhausted=True)
    return [
        Answer(query, vector, {name: score_documents(each) for name, each in by_index.items()})
        for query, vector, by_index in zip(judged, vectors, rankings, strict=True)
    ]


def search_seconds(
    engine: Engine, judged: JudgedQueries, load: Callable[[], Encoder]
) -> list[float]:
    """How long whole searches take for the first judged queries, without their encoding."""
    asked = judged[:_TIMED]
    vectors = load().encode_queries([query.text for query in asked])
    took = []
    for query, vector in zip(asked, vectors, strict=True):
        started = time.perf_counter()
        search_vector(engine, query.text, vector)
        took.append(time.perf_counter() - started)
    return took


def half_of(answers: Sequence[Answer], half: Literal["tuning", "reporting"]) -> list[Answer]:
    """The queries of one half that have an answer, as trec_eval counts them."""
    return [
        answer
        for answer in answers
        if answer.query.half == half and max(answer.query.relevant.values(), default=0) > 0
    ]


def present_documents(connection: postgres.Connection, answers: Sequence[Answer]) -> set[str]:
    """The judged documents that the corpus has."""
    judged = sorted({name for answer in answers for name in answer.query.relevant})
    text = statement("postgres/search/evaluation/judged_documents")
    return {name for (name,) in connection.execute(text, {"document_ids": judged})}


def measure_methods(
    engine: Engine, halves: Mapping[str, Sequence[Answer]], seed: int
) -> MethodQuality:
    """Measure every method on the queries of each half that has any."""
    methods: dict[str, dict[str, Metrics]] = {}
    intervals: dict[str, dict[str, Mapping[str, Interval]]] = {}
    ndcg: dict[str, dict[str, float]] = {}
    for half, answers in halves.items():
        for method, by_query in evaluate_methods(engine, answers).items() if answers else ():
            rows = list(by_query.values())
            methods.setdefault(method, {})[half] = mean_metrics(rows)
            intervals.setdefault(method, {})[half] = metric_intervals(rows, seed)
            if half == "reporting":
                ndcg[method] = {query_id: metrics[NDCG] for query_id, metrics in by_query.items()}
    comparison = compare(ndcg, "hybrid", ("vector", "keyword"), seed) if ndcg else None
    return MethodQuality(methods, intervals, ndcg, comparison)


def evaluate_methods(engine: Engine, answers: Sequence[Answer]) -> dict[str, dict[str, Metrics]]:
    """The metrics of every method on every query, by their names, as the engine's fusion fuses."""
    fusion = engine.fusion

    def hybrid(answer: Answer) -> list[str]:
        fused = fuse_documents(fused_by(answer.scores, fusion.feedback), fusion)
        return [document_id for document_id, _ in fused]

    def reranked(answer: Answer) -> list[str]:
        hits = search_vector(engine, answer.query.text, answer.vector, k=MAX_K).hits
        return [hit.document_id for hit in hits]

    runs: dict[str, Callable[[Answer], list[str]]] = {
        "hybrid": hybrid,
        "vector": lambda answer: list(answer.scores["vector"].scores),
        "keyword": lambda answer: list(answer.scores["keyword"].scores),
        **({"reranked": reranked} if engine.reranker else {}),
    }
    return {
        method: {
            answer.query.query_id: evaluate_ranking(run(answer), answer.query.relevant)
            for answer in answers
        }
        for method, run in runs.items()
    }
