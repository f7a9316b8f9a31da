"""Every method under filters: those that tell the answers of many judged queries apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from statistics import median_high
from typing import Any

from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.search.answering.ranking import rank_documents
from ml_assets.search.evaluation.bootstrap import mean_metrics, metric_intervals
from ml_assets.search.evaluation.judged import Asked, half_of
from ml_assets.search.evaluation.metrics import NDCG, evaluate_queries
from ml_assets.search.filters.language import METADATA, Compare, Condition, Value, equal
from ml_assets.search.filters.parse import format_condition
from ml_assets.search.model import METHODS, Engine, Method
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

MAX_FILTERS = 5
MIN_FILTERED_QUERIES = 10
"""A filter is measured when an answer of at least so many reporting queries passes it."""

Fields = Mapping[str, Value]
"""What a document has, by the fields of the filter language."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A condition on one field, which answers pass it, and how many queries have one of these."""

    field: str
    condition: Condition
    passing: frozenset[str]
    queries: int = 0


def fields_of(connection: postgres.Connection, asked: Sequence[Asked]) -> dict[str, Fields]:
    """What each judged document has that the corpus has."""
    wanted = sorted({document_id for one in asked for document_id in one.query.relevant})
    query = statement("postgres/search/evaluation/judged_documents")
    rows = postgres.run(connection, query, {"document_ids": wanted})
    return {document_id: _fields(*row) for document_id, *row in rows}


def measure_filters(
    engine: Engine, asked: Sequence[Asked], fields: Mapping[str, Fields], seed: int
) -> dict[str, Any]:
    """Every method on the reporting queries, under a few filters.

    `filters`, per filter and method: `filter` as a person writes it, `method`, `queries` (those
    with an answer that passes), the mean of each metric, and the `interval` of nDCG@10.
    `no_filters` says why there are none, and is empty when there are.
    """
    chosen = choose(asked, fields)
    rows = [row for one in chosen for row in _measure_filter(engine, asked, one, seed)]
    return {"filters": rows, "no_filters": "" if rows else _why_none(asked, fields)}


def choose(asked: Sequence[Asked], fields: Mapping[str, Fields]) -> list[Candidate]:
    """The conditions that the answers of most queries pass, of up to `MAX_FILTERS`.

    They are equality, and for numbers and times `>=` their median. One that all answers pass
    would measure nothing, and so would a second one that the same answers pass. Every field has
    its turn before one has its second.
    """
    queries_of: dict[str, set[str]] = defaultdict(set)
    for one in asked:
        for document_id in _answers(one.query, fields):
            queries_of[document_id].add(one.query.query_id)
    counted = [
        replace(one, queries=len(set[str]().union(*(queries_of[name] for name in one.passing))))
        for one in _candidates({name: fields[name] for name in queries_of})
        if len(one.passing) < len(queries_of)
    ]
    ordered = _by_turns([one for one in counted if one.queries >= MIN_FILTERED_QUERIES])
    distinct = {one.passing: one for one in reversed(ordered)}
    return [one for one in ordered if distinct[one.passing] is one][:MAX_FILTERS]


def _by_turns(candidates: Sequence[Candidate]) -> list[Candidate]:
    """First the best of every field, then the second of every field, and so on."""
    turns: Counter[str] = Counter()
    ordered: list[tuple[int, Candidate]] = []
    for one in sorted(candidates, key=lambda one: (-one.queries, format_condition(one.condition))):
        ordered.append((turns[one.field], one))
        turns[one.field] += 1
    return [one for _, one in sorted(ordered, key=lambda turn: turn[0])]


def _candidates(answers: Mapping[str, Fields]) -> Iterator[Candidate]:
    held: dict[str, dict[tuple[bool, Value], set[str]]] = defaultdict(lambda: defaultdict(set))
    for document_id, fields in answers.items():
        for field, value in fields.items():
            # In Python, not in a filter, true equals 1.
            held[field][isinstance(value, bool), value].add(document_id)
    for field, by_value in held.items():
        for (_, value), passing in by_value.items():
            if not isinstance(value, datetime):
                yield Candidate(field, equal(field, value), frozenset(passing))
        # Times, or numbers: no field has both.
        ordered: dict[Any, set[str]] = {
            value: passing
            for (is_bool, value), passing in by_value.items()
            if not is_bool and not isinstance(value, str)
        }
        if ordered:
            middle = median_high([value for value, passing in ordered.items() for _ in passing])
            above = (passing for value, passing in ordered.items() if value >= middle)
            yield Candidate(field, Compare(field, ">=", middle), frozenset[str]().union(*above))


def _measure_filter(
    engine: Engine, asked: Sequence[Asked], chosen: Candidate, seed: int
) -> list[dict[str, Any]]:
    within = half_of([_within(one, chosen.passing) for one in asked], "reporting")
    queries = [one.query for one in within]
    vectors = {one.query.query_id: one.vector for one in within}

    def rank(method: Method, query: JudgedQuery) -> list[str]:
        vector = vectors[query.query_id]
        ranked = rank_documents(engine, query.text, vector, method, chosen.condition)
        return [document_id for document_id, _ in ranked.documents]

    rows = []
    for method in METHODS:
        results = list(evaluate_queries(partial(rank, method), queries).values())
        interval = metric_intervals(results, seed)[NDCG]
        shown = {"filter": format_condition(chosen.condition), "method": method}
        rows.append({**shown, **mean_metrics(results), "interval": interval})
    return rows


def _why_none(asked: Sequence[Asked], fields: Mapping[str, Fields]) -> str:
    held = {
        name
        for one in asked
        for document_id in _answers(one.query, fields)
        for name in fields[document_id]
    }
    if not held:
        return "no answer of a judged query for reporting is in the corpus"
    return (
        f"nothing that the answers have ({', '.join(sorted(held))}) is true of those of"
        f" {MIN_FILTERED_QUERIES} of {len(asked)} queries, and false of others"
    )


def _within(one: Asked, passing: frozenset[str]) -> Asked:
    """The query with only those answers that pass."""
    relevant = {
        document_id: grade
        for document_id, grade in one.query.relevant.items()
        if document_id in passing
    }
    return replace(one, query=replace(one.query, relevant=relevant))


def _answers(query: JudgedQuery, fields: Mapping[str, Fields]) -> list[str]:
    """The documents of the corpus that answer it."""
    return [name for name, grade in query.relevant.items() if grade > 0 and name in fields]


def _fields(
    collection: str, label: str | None, created_at: datetime | None, metadata: Mapping[str, Value]
) -> Fields:
    own = {"collection": collection, "label": label, "created_at": created_at}
    held = {name: value for name, value in own.items() if value is not None}
    return {**held, **{METADATA + key: value for key, value in metadata.items()}}
