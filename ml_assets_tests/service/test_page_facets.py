"""Facets: what they count, what is a facet, and the condition that chosen values make."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ml_assets.errors import UserError
from ml_assets.search.answering.model import Hit
from ml_assets.search.answering.snippet import highlight, query_terms, telling_terms
from ml_assets.service.page.asked import Asked
from ml_assets.service.page.facets import facets_of


def hit(number: int, **more: Any) -> Hit:
    given = {"collection": "all", "label": None, "url": None, **more}
    return Hit(
        document_id=str(number),
        title="",
        score=1,
        relevance=None,
        text="",
        snippet="",
        chunk_index=0,
        start_offset=0,
        end_offset=0,
        **given,
    )


def told(hits: list[Hit], **asked: Any) -> dict[str, dict[str, int]]:
    return {
        facet.title: {value.shown: value.documents for value in facet.values}
        for facet in facets_of(hits, Asked(q="x", **asked))
    }


def test_facets_are_what_tells_hits_apart() -> None:
    hits = [
        hit(number, label="ab"[number % 2], metadata={"kind": number % 3, "own": number, "same": 1})
        for number in range(30)
    ]
    assert told(hits) == {"Label": {"a": 15, "b": 15}, "kind": {"0": 10, "1": 10, "2": 10}}
    assert told(hits, collection=["gone"])["Collection"] == {"all": 30, "gone": 0}
    assert told(hits, where=["own=7"])["own"]["7"] == 1
    assert told([]) == {}
    same = [hit(number, collection="ab"[number], label="ab"[number]) for number in range(2)]
    assert told(same) == {"Collection": {"a": 1, "b": 1}}
    assert told(same, label=["a"])["Label"] == {"a": 1, "b": 1}


def test_times_are_years_or_the_months_of_one() -> None:
    def made(*times: tuple[int, int]) -> list[Hit]:
        return [
            hit(number, created_at=datetime(*time, 5, tzinfo=UTC))
            for number, time in enumerate(times)
        ]

    assert told(made((2025, 1), (2026, 1), (2026, 3))) == {"Created": {"2026": 2, "2025": 1}}
    assert told(made((2026, 1), (2026, 3))) == {"Created": {"2026-01": 1, "2026-03": 1}}


def test_what_is_not_text_is_written_as_in_a_filter() -> None:
    hits = [hit(1, metadata={"open": True, "n": 1.5}), hit(2, metadata={"open": False, "n": "1"})]
    assert told(hits) == {"n": {"1": 1, "1.5": 1}, "open": {"false": 1, "true": 1}}
    assert told([hit(1, metadata={"a=b": 1}), hit(2, metadata={"a=b": 2})]) == {}


@pytest.mark.parametrize(
    ("asked", "condition"),
    [
        ({}, None),
        ({"label": ["a", "b"]}, 'label in ("a", "b")'),
        ({"filter": "metadata.n > 1", "label": ["a"]}, 'metadata.n > 1 and label = "a"'),
        (
            {"created": ["2026-12"]},
            "(created_at >= 2026-12-01T00:00:00+00:00 and created_at < 2027-01-01T00:00:00+00:00)",
        ),
    ],
)
def test_chosen_values_of_a_facet_are_alternatives(
    asked: dict[str, Any], condition: str | None
) -> None:
    assert Asked(q="x", **asked).request(narrowed=True).filter == condition


def test_values_of_one_key_are_alternatives_and_of_two_are_not() -> None:
    asked = Asked(q="x", where=["kind=class", "kind=module", "n=2"], created=["2025", "2026"])
    written = asked.request(narrowed=True).filter or ""
    assert written.count(" or ") >= 2
    assert '"class"' in written
    assert '"module"' in written
    assert asked.request(narrowed=False).filter is None
    with pytest.raises(UserError, match="not a year"):
        Asked(q="x", created=["0"]).request(narrowed=True)


def test_a_url_leaves_out_what_is_so_anyway() -> None:
    asked = Asked(q="a b", label=["x&y"], page=2)
    assert asked.url() == "/?q=a+b&label=x%26y&page=2"
    assert asked.url(label=[], page=1) == "/?q=a+b"
    assert Asked().url() == "/"


def test_words_of_the_query_are_told_from_the_others() -> None:
    text = "Café: baking breads, 日本 bread"
    pieces = highlight(text, query_terms("bake BREAD cafe"))
    assert "".join(piece for piece, _ in pieces) == text
    assert [piece for piece, is_word in pieces if is_word] == ["Café", "baking", "breads", "bread"]
    text = "I call a parser as it parses the arguments of a C program"
    pieces = highlight(text, telling_terms("How do I parse a command's arguments in C?"))
    assert [piece for piece, is_word in pieces if is_word] == ["parses", "arguments"]
    assert highlight("", query_terms("a")) == []
    assert highlight("none", query_terms("a")) == [("none", False)]
