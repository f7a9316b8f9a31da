"""The judged queries of a source: asked, and every method measured on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ml_assets.documents.sources.base import JudgedQueries, JudgedQuery
from ml_assets.search.engine import MAX_K, check_space, search_vector
from ml_assets.search.evaluation import NDCG, Metrics, evaluate_queries
from ml_assets.search.filters.language import equal
from ml_assets.search.model import METHODS, Engine, Method, Vector
from ml_assets.search.ranking import ask, ask_again, found_documents, fuse_documents, rank_documents
from ml_assets.search.significance import compare, mean_metrics, metric_intervals
from ml_assets.search.tuning import MIN_QUERIES, FeedbackChoice, FoundBy, fused_by
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from ml_assets.embeddings.encoder import Encoder

MAX_FILTERS = 5
MIN_FILTERED_QUERIES = 10
"""A filter is measured when an answer of at least so many reporting queries passes it."""

RERANKED = "reranked"
"""The name of the hybrid method after the cross-encoder."""

Results = Mapping[str, Mapping[str, Metrics]]
"""Method, then query id, then metrics."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A judged query, its vector, and the documents found for it."""

    query: JudgedQuery
    vector: Vector
    found: FoundBy


def ask_all(
    engine: Engine,
    judged: JudgedQueries,
    load: Callable[[], Encoder],
    feedback: FeedbackChoice = "auto",
) -> list[Asked]:
    """Ask both indexes every judged query, and the moved query where feedback may serve.

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
        Asked(query, vector, _find(engine, query.text, vector, again))
        for query, vector in zip(judged, vectors, strict=True)
    ]


def half_of(asked: Sequence[Asked], half: Literal["tuning", "reporting"]) -> list[Asked]:
    """The queries of one half that have an answer, as trec_eval counts them."""
    return [
        one
        for one in asked
        if one.query.half == half and any(grade > 0 for grade in one.query.relevant.values())
    ]


def collections_of(connection: postgres.Connection, asked: Sequence[Asked]) -> dict[str, str]:
    """The collection of each judged document that the corpus has."""
    wanted = sorted({document_id for one in asked for document_id in one.query.relevant})
    query = statement("postgres/search/collections_of")
    return dict(postgres.run(connection, query, {"document_ids": wanted}).fetchall())


def measure_methods(
    engine: Engine, halves: Mapping[str, Sequence[Asked]], seed: int
) -> dict[str, Any]:
    """What the queries say of every method.

    `methods` is method → half → the mean of each metric, `intervals` likewise their intervals;
    on the reporting half `comparison` sets hybrid against the better single index, and `ndcg` is
    method → query → nDCG@10.
    """
    results = {half: evaluate_methods(engine, asked) for half, asked in halves.items() if asked}
    methods: dict[str, dict[str, Any]] = {}
    intervals: dict[str, dict[str, Any]] = {}
    for half, by_method in results.items():
        for method, by_query in by_method.items():
            rows = list(by_query.values())
            methods.setdefault(method, {})[half] = mean_metrics(rows)
            intervals.setdefault(method, {})[half] = metric_intervals(rows, seed)
    said: dict[str, Any] = {"methods": methods, "intervals": intervals}
    if "reporting" in results:
        said["ndcg"] = _ndcg(results["reporting"])
        said["comparison"] = asdict(compare(said["ndcg"], "hybrid", ("vector", "keyword"), seed))
    return said


def evaluate_methods(engine: Engine, asked: Sequence[Asked]) -> Results:
    """The metrics of every method on every query, as the engine's fusion fuses."""
    fusion, found = engine.fusion, {one.query.query_id: one for one in asked}
    queries = [one.query for one in asked]

    def hybrid(query: JudgedQuery) -> list[str]:
        fused = fuse_documents(fused_by(found[query.query_id].found, fusion.feedback), fusion)
        return [document_id for document_id, _ in fused]

    def reranked(query: JudgedQuery) -> list[str]:
        hits = search_vector(engine, query.text, found[query.query_id].vector, k=MAX_K).hits
        return [hit.document_id for hit in hits]

    runs: dict[str, Callable[[JudgedQuery], Sequence[str]]] = {
        "hybrid": hybrid,
        "vector": lambda query: list(found[query.query_id].found["vector"].scores),
        "keyword": lambda query: list(found[query.query_id].found["keyword"].scores),
    }
    if engine.reranker:
        runs[RERANKED] = reranked
    return {method: evaluate_queries(run, queries) for method, run in runs.items()}


def measure_filters(
    engine: Engine, asked: Sequence[Asked], collections: Mapping[str, str], seed: int
) -> list[dict[str, Any]]:
    """Every method under a filter on each of the collections that most queries ask for.

    Per filter and method: `filter`, `method`, `queries` (those with an answer that passes), the
    mean of each metric, and the `interval` of nDCG@10. Nothing when there is one collection only.
    """
    answered = Counter(name for one in asked for name in _collections(one.query, collections))
    if len(answered) < 2:
        return []
    rows = []
    for name, queries in answered.most_common(MAX_FILTERS):
        if queries >= MIN_FILTERED_QUERIES:
            within = [_within(one, name, collections) for one in asked]
            rows += _measure_filter(engine, half_of(within, "reporting"), name, seed)
    return rows


def _measure_filter(
    engine: Engine, asked: Sequence[Asked], collection: str, seed: int
) -> list[dict[str, Any]]:
    filters = equal("collection", collection)
    queries = [one.query for one in asked]
    vectors = {one.query.query_id: one.vector for one in asked}

    def rank(method: Method, query: JudgedQuery) -> list[str]:
        ranked = rank_documents(engine, query.text, vectors[query.query_id], method, filters)
        return [document_id for document_id, _ in ranked.documents]

    rows = []
    for method in METHODS:
        results = list(evaluate_queries(partial(rank, method), queries).values())
        interval = metric_intervals(results, seed)[NDCG]
        shown = {"filter": f"collection={collection}", "method": method}
        rows.append({**shown, **mean_metrics(results), "interval": interval})
    return rows


def _within(one: Asked, collection: str, collections: Mapping[str, str]) -> Asked:
    """The query with only those answers that are in the collection."""
    relevant = {
        document_id: grade
        for document_id, grade in one.query.relevant.items()
        if collections.get(document_id) == collection
    }
    return replace(one, query=replace(one.query, relevant=relevant))


def _collections(query: JudgedQuery, collections: Mapping[str, str]) -> set[str]:
    """The collections that hold an answer."""
    return {
        collections[document_id]
        for document_id, grade in query.relevant.items()
        if grade > 0 and document_id in collections
    }


def _find(engine: Engine, text: str, vector: Vector, again: bool) -> FoundBy:
    rankings = ask(engine, text, vector)
    if again:
        rankings["feedback"] = ask_again(engine, rankings, vector)
    return {name: found_documents(ranking) for name, ranking in rankings.items()}


def _ndcg(results: Results) -> dict[str, dict[str, float]]:
    return {
        method: {query_id: metrics[NDCG] for query_id, metrics in by_query.items()}
        for method, by_query in results.items()
    }
