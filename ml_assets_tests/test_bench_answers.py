"""The benchmark of answers: its questions, its figures, and how it chooses a threshold."""

import json

import pytest

from bench.answers import QUESTIONS, Asked, choose, figures_of
from ml_assets.documents.sources.python_docs import PythonDocs


def judged(best: float, cited: tuple[str, ...] = (), half: str = "tuning") -> Asked:
    return Asked("q", "judged", half, best, cited, {"a": 2, "b": 1, "c": 0})


def other(best: float, kind: str = "far", half: str = "tuning") -> Asked:
    return Asked("q", kind, half, best)


def test_fifty_questions_are_none_of_the_judged_ones() -> None:
    rows = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]
    assert len(rows) == len({row["question"] for row in rows}) == 50
    halves = [(row["kind"], row["half"]) for row in rows]
    assert {half: halves.count(half) for half in halves} == {
        ("far", "tuning"): 13,
        ("far", "reporting"): 12,
        ("near", "tuning"): 13,
        ("near", "reporting"): 12,
    }
    known = [set(query.text.lower().split()) for query in PythonDocs().judged_queries()]
    for row in rows:
        words = set(row["question"].lower().split())
        assert max(len(words & each) / len(words | each) for each in known) < 0.5, row


def test_figures_are_those_of_the_half_and_the_threshold() -> None:
    asked = [
        judged(0.5, ("a", "x")),
        judged(0.4, ("a", "b")),
        judged(0.2, ("a", "b")),
        judged(0.9, ("x",)),
        other(0.1),
        other(0.6, "near"),
        other(0.1, "near", "reporting"),
    ]
    figures = figures_of(asked, 0.4, "tuning")
    assert (figures.judged, figures.unanswerable) == (4, 2)
    assert (figures.answered, figures.recall, figures.hit) == (0.75, 0.375, 0.5)
    assert (figures.refused, figures.refused_far, figures.refused_near) == (0.5, 1, 0)
    assert figures_of(asked, 0.4, "").refused == pytest.approx(2 / 3)


def test_a_threshold_parts_the_two_where_that_is_possible() -> None:
    parted = [judged(0.5), judged(0.9), other(0.1), other(0.3)]
    assert choose(parted) == pytest.approx(0.4)
    assert choose([*parted, other(0.6)]) == pytest.approx(0.4)
    assert choose([judged(0.5)]) < 0.5
