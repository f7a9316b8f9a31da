from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.search.answering.engine import open_engine, search
from ml_assets.search.evaluation.judged import Asked, ask_all
from ml_assets.search.evaluation.judged_filters import (
    MAX_FILTERS,
    Fields,
    choose,
    fields_of,
    measure_filters,
)
from ml_assets.search.filters.parse import format_condition, parse_condition
from ml_assets.search.model import Engine, Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.search.corpus import Doc, fill, sync_all
from ml_assets_tests.search.evaluation.judging import DOCS as DOCS  # what the fixture fills in
from ml_assets_tests.search.evaluation.judging import judged


def measured(engine: Engine, queries: Sequence[JudgedQuery]) -> dict[str, Any]:
    asked = ask_all(engine, tuple(queries), HashEncoder)
    return measure_filters(engine, asked, fields_of(engine.connection, asked), seed=0)


ALSO = [judged(number, "reporting", 39) for number in range(4, 34)]
"""d39, in the collection `odd`, answers all of them, too."""


def test_every_method_is_measured_under_the_filters_that_most_answers_pass(engine: Engine) -> None:
    said = measured(engine, ALSO)
    rows = said["filters"]
    assert said["no_filters"] == ""
    assert [(row["filter"], row["method"], row["queries"]) for row in rows] == [
        (f'collection = "{name}"', method, queries)
        for name, queries in (("odd", 30), ("even", 15))
        for method in ("hybrid", "vector", "keyword")
    ]
    even = rows[4]
    # d39, an answer to each, is not of this collection: the other one is all there is to find.
    assert even["recall@10"] == even["mrr@10"] == 1
    low, high = even["interval"]
    assert low <= even["ndcg@10"] <= high


def test_the_measured_filter_is_the_one_that_is_named(engine: Engine) -> None:
    odd = measured(engine, ALSO)["filters"][0]
    grades = []
    for number in range(4, 34):
        asked, filters = f"text number {number}", parse_condition(odd["filter"])
        found = {
            hit.document_id for hit in search(engine, asked, HashEncoder(), filters=filters).hits
        }
        wanted = {"d39", *([f"d{number}"] if number % 2 else [])}
        grades.append(len(wanted & found) / len(wanted))
    assert odd["recall@10"] == pytest.approx(sum(grades) / len(grades))


def test_few_queries_or_one_collection_measure_no_filter_and_say_so(engine: Engine) -> None:
    few = [judged(number) for number in range(4, 20)]  # eight of each collection
    said = measured(engine, few)
    assert said["filters"] == []
    assert said["no_filters"] == (
        "nothing that the answers have (collection) is true of those of 10 of 16 queries, and"
        " false of others"
    )
    assert measured(engine, [judged(number) for number in range(4, 34, 2)])["filters"] == []
    gone = replace(judged(4), relevant={"gone": 1, "d4": 0})
    assert measured(engine, [gone])["no_filters"] == (
        "no answer of a judged query for reporting is in the corpus"
    )


def test_one_collection_is_measured_by_what_its_documents_have(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    """As a benchmark is: one collection; numbers and times by their upper half."""
    docs = {
        f"d{number}": Doc(
            (f"text number {number}",),
            label="x" if number < 25 else None,
            created_at=datetime(2020, 1, 1 + number % 20, tzinfo=UTC),
            metadata={"year": number, "kind": "rare" if number == 5 else "often"},
        )
        for number in range(40)
    }
    fill(connection, docs)
    sync_all(connection, settings, generation)
    with open_engine(connection, settings, generation) as engine:
        rows = measured(engine, [judged(number) for number in range(40)])["filters"]
    assert [(row["filter"], row["queries"]) for row in rows if row["method"] == "vector"] == [
        ('metadata.kind = "often"', 39),
        ('label = "x"', 25),
        ("created_at >= 2020-01-11T00:00:00+00:00", 20),
        ("metadata.year >= 20", 20),
    ]
    # Each answer passes, and its own text finds it: a filter that let others pass would not tell.
    assert {row["recall@10"] for row in rows if row["method"] == "vector"} == {1}


def chosen(answers: Mapping[str, Fields]) -> list[str]:
    """By ten queries for each document, what is chosen."""
    asked = [
        Asked(replace(judged(0), query_id=f"{name}{turn}", relevant={name: 1}), np.zeros(1), {})
        for name in answers
        for turn in range(10)
    ]
    return [format_condition(one.condition) for one in choose(asked, answers)]


def test_every_field_has_its_turn_and_there_is_an_end() -> None:
    answers: dict[str, Fields] = {
        f"d{number}": {"collection": f"c{number:02}", "metadata.k": f"k{number // 2:02}"}
        for number in range(30)
    }
    assert chosen(answers) == [
        'metadata.k = "k00"',
        'collection = "c00"',
        'metadata.k = "k01"',
        'collection = "c01"',
        'metadata.k = "k02"',
    ]
    assert len(chosen(answers)) == MAX_FILTERS
    assert chosen(dict(reversed(answers.items()))) == chosen(answers)


def test_true_is_not_one() -> None:
    answers: dict[str, Fields] = {"a": {"metadata.k": True}, "b": {"metadata.k": 1}, "c": {}}
    assert chosen(answers) == ["metadata.k = 1", "metadata.k = true"]


def test_what_the_same_answers_pass_is_measured_once() -> None:
    answers: dict[str, Fields] = {
        name: {"collection": name, "label": f"of {name}"} for name in ("a", "b")
    }
    assert chosen(answers) == ['collection = "a"', 'collection = "b"']


def test_what_every_answer_has_filters_nothing() -> None:
    same: Fields = {"collection": "a", "label": "x", "metadata.n": 7}
    assert chosen({"a": same, "b": same}) == []
