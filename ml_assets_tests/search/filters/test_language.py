from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pgvector import HalfVector

from ml_assets.errors import UserError
from ml_assets.search.filters.language import (
    NO_FILTER,
    And,
    Compare,
    Condition,
    In,
    Not,
    Or,
    all_of,
    created_between,
    microseconds,
)
from ml_assets.search.filters.sql import sql_condition
from ml_assets.search.indexes.chroma import filters as chroma_filters
from ml_assets.search.indexes.chroma.filters import chroma_metadata, chroma_where
from ml_assets.search.indexes.contract import Entry
from ml_assets.search.indexes.keyword import filters as keyword_filters
from ml_assets.search.indexes.keyword.filters import attribute_token
from ml_assets_tests.search.filters.conditions import equal

EVIL = "is null or true or d.created_at <"
NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)

WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: equal("colection", "a"), r"no field 'colection'. Known: collection, label, created"),
    (lambda: equal("metadata.", "a"), "no field"),
    (lambda: equal("metadata.\0", 1), "no store can hold"),
    (lambda: equal("collection", 5), r"collection cannot be 5 \(int\). Give a text"),
    (lambda: equal("label", "\udcff"), "label cannot be"),
    (lambda: equal("collection", "\0"), "collection cannot be"),
    (lambda: equal("created_at", "2020-01-01"), "compared with a date"),
    (lambda: equal("created_at", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))), "hold"),
    (lambda: equal("metadata.k", float("nan")), "nan"),
    (lambda: In("metadata.k", ()), "needs a tuple of values"),
    (lambda: In("label", "food"), "needs a tuple of values"),  # type: ignore[arg-type]
    (lambda: In("metadata.k", ("1", None)), "NoneType"),  # type: ignore[arg-type]
    (lambda: In("metadata.k", ([1],)), "list"),  # type: ignore[arg-type]
    (lambda: In("metadata.k", ("a", "\udcff")), "no store can hold"),
    (lambda: equal("metadata.k", datetime(2020, 1, 1, tzinfo=UTC)), "datetime"),
    (lambda: Compare("label", "<", 1), "label has no order"),
    (lambda: Compare("created_at", EVIL, NOON), "no operator 'is null or true or .*Known: < <= >"),  # type: ignore[arg-type]
    (lambda: Compare("metadata.k", "=", 1), "no operator '='"),  # type: ignore[arg-type]
    (lambda: Compare("metadata.k", "", 1), "no operator ''"),  # type: ignore[arg-type]
    (lambda: Compare("metadata.k", ["<"], 1), "no operator"),  # type: ignore[arg-type]
    (lambda: Compare("metadata.k", "<", True), "compared with a number, not with True"),
    (lambda: Compare("metadata.k", "<", "1"), "compared with a number"),  # type: ignore[arg-type]
    (lambda: Compare("created_at", "<", 1), "compared with a date, not with 1"),
    (
        lambda: created_between(datetime(2021, 1, 1, tzinfo=UTC), datetime(2020, 1, 1)),  # noqa: DTZ001
        "cannot be from 2021",
    ),
]


@pytest.mark.parametrize(("make", "said"), WRONG)
def test_what_no_document_can_have_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()


def test_no_filter_asks_for_nothing() -> None:
    assert all_of() == all_of(NO_FILTER, NO_FILTER) == created_between(None, None) == NO_FILTER
    assert all_of(NO_FILTER, equal("label", "x")) == equal("label", "x")
    assert sql_condition(NO_FILTER) == ("d.deleted_at is null", {})


def test_values_are_bound_and_never_part_of_the_sql() -> None:
    evil = "'; drop table documents; --"
    asked = And((equal("collection", evil), Not(equal(f"metadata.{evil}", evil))))
    condition, bound = sql_condition(asked)
    assert "drop" not in condition
    assert bound["filter_0"] == [evil]
    assert [one.obj for one in bound["filter_1"]] == [{evil: evil}]
    assert set(bound) == {"filter_0", "filter_1"}


@pytest.mark.parametrize("asked", [Compare("created_at", "<", NOON), Compare("metadata.k", "<", 1)])
def test_operators_are_never_part_of_the_sql(asked: Compare) -> None:
    object.__setattr__(asked, "operator", EVIL)  # as if nobody had checked it
    with pytest.raises(KeyError):
        sql_condition(asked)


def test_only_what_is_asked_for_is_in_the_sql() -> None:
    condition, _ = sql_condition(equal("label", "x"))
    assert condition == "d.deleted_at is null and d.label = any(%(filter_0)s)"


def test_times_are_compared_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    since = Compare("created_at", ">=", datetime(2020, 1, 1, tzinfo=berlin))
    assert since.value == datetime(2019, 12, 31, 23, tzinfo=UTC)
    assert microseconds(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1


def test_one_condition_stands_alone_in_chroma() -> None:
    label = {"label": {"$in": ["a"]}}
    assert chroma_where(equal("label", "a")) == label
    assert chroma_where(And((equal("label", "a"),))) == label
    both = chroma_where(And((equal("label", "a"), equal("metadata.n", 1))))
    assert both == {"$and": [label, {"metadata.n": {"$in": [1.0]}}]}


def test_chroma_stores_numbers_as_doubles() -> None:
    metadata = {"n": 5, "big": 10**400, "ok": True}
    entry = Entry("a#0", b"\x01", "", "", "a", None, None, metadata, HalfVector([1, 0]))
    stored: dict[str, Any] = chroma_metadata(entry)
    assert len(str(stored.pop("vector"))) == 32
    assert stored == {
        "revision": "01",
        "collection": "a",
        "metadata.n": 5.0,
        "metadata.big": 2.0**1023,
        "metadata.ok": True,
    }
    assert isinstance(stored["metadata.n"], float)


def test_equal_numbers_have_one_form_and_other_types_another() -> None:
    assert attribute_token("k", 1) == attribute_token("k", 1.0)
    assert attribute_token("k", 0) == attribute_token("k", -0.0)
    tokens = {attribute_token("k", value) for value in (1, True, "1", 1.5, "true")}
    assert len(tokens) == 5
    assert attribute_token("k", 2**53) != attribute_token("k", 2**53 + 1)
    assert len(attribute_token("k", "v" * 100_000)) < 1000
    assert attribute_token("a", 'b", "c') != attribute_token('a", "b', "c")


LABEL, LATE = equal("label", "x"), Compare("created_at", ">=", NOON)
LARGE, SMALL = Compare("metadata.n", ">", 2**53), Compare("metadata.n", "<", 2**53 - 1)
EXPRESSED: list[tuple[Condition, bool, bool]] = [
    (And((LABEL, LATE)), True, True),
    (Not(Or((LABEL, equal("metadata.n", 2)))), True, True),
    (Not(LATE), False, True),
    (Not(Not(LATE)), True, True),
    (Not(And((LABEL, LATE))), False, True),
    (SMALL, True, False),
    (LARGE, False, False),
    (And((LABEL, LARGE)), False, False),
    (In("metadata.n", ("x", 2**53)), False, False),
    (equal("metadata.n", -(2**53)), False, False),
    (equal("metadata.n", True), True, True),
    (Or((LABEL, And(()))), False, True),
    (In("label", tuple(map(str, range(500)))), True, True),
    (Or((LABEL, In("label", tuple(map(str, range(500)))))), False, True),
]


@pytest.mark.parametrize(("condition", "chroma", "keyword"), EXPRESSED)
def test_what_a_store_cannot_tell_is_left_to_postgresql(
    condition: Condition, chroma: bool, keyword: bool
) -> None:
    assert chroma_filters.is_expressible(condition) == chroma
    assert keyword_filters.is_expressible(condition) == keyword
