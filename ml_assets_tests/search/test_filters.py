from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from rich.console import Console

from ml_assets import cli, console
from ml_assets.errors import UserError
from ml_assets.search.filters import (
    NO_FILTER,
    SearchFilter,
    attribute_token,
    chroma_where,
    microseconds,
    normalized_scalar,
    sql_condition,
)
from ml_assets.search.model import SearchResult

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"collections": "food"}, "collections must be a tuple of strings"),
    ({"labels": (1,)}, "labels must be a tuple of strings"),
    ({"created_from": "2020-01-01"}, "created_from must be a datetime"),
    ({"created_from": datetime(2021, 1, 1), "created_to": datetime(2020, 1, 1)}, "not before"),  # noqa: DTZ001
    ({"metadata": {"k": None}}, "NoneType"),
    ({"metadata": {"k": [1]}}, "list"),
    ({"metadata": {"k": float("nan")}}, "nan"),
    ({"metadata": {"": 1}}, "key"),
    ({"metadata": {"k": ()}}, "no value"),
    ({"metadata": {"k": "a\0"}}, "no store can hold"),
    ({"metadata": {"k": ("a", "\udcff")}}, "no store can hold"),
    ({"metadata": {"\0": 1}}, "no store can hold"),
    ({"collections": ("\0",)}, "collections cannot equal"),
    ({"labels": ("\udcff",)}, "labels cannot equal"),
    ({"metadata": {"k": ("1", None)}}, "NoneType"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_what_no_document_can_have_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        SearchFilter(**wrong)


def test_no_filter_asks_for_nothing() -> None:
    assert not NO_FILTER
    assert SearchFilter(labels=("x",))
    assert chroma_where(NO_FILTER) is None
    assert sql_condition(NO_FILTER) == ("d.deleted_at is null", {})


def test_values_are_bound_and_never_part_of_the_sql() -> None:
    evil = "'; drop table documents; --"
    condition, bound = sql_condition(
        SearchFilter((evil,), (evil,), datetime(2020, 1, 1, tzinfo=UTC), None, {evil: evil})
    )
    assert "drop" not in condition
    assert bound["collections"] == [evil]
    assert set(bound) == {"collections", "labels", "created_from", "metadata"}


def test_times_are_compared_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    assert SearchFilter(created_from=datetime(2020, 1, 1, tzinfo=berlin)).created_from == datetime(
        2019, 12, 31, 23, tzinfo=UTC
    )
    assert microseconds(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1


def test_one_condition_stands_alone_in_chroma() -> None:
    assert chroma_where(SearchFilter(labels=("a",))) == {"label": {"$in": ["a"]}}
    both = chroma_where(SearchFilter(labels=("a",), metadata={"n": 1}))
    assert both == {"$and": [{"label": {"$in": ["a"]}}, {"metadata.n": {"$eq": 1.0}}]}


def test_equal_numbers_have_one_form_and_other_types_another() -> None:
    assert attribute_token("k", 1) == attribute_token("k", 1.0)
    tokens = {attribute_token("k", value) for value in (1, True, "1", 1.5, "true")}
    assert len(tokens) == 5
    assert normalized_scalar(2**70) == float(2**70)
    assert len(attribute_token("k", "v" * 100_000)) < 1000
    assert attribute_token("a", 'b", "c') != attribute_token('a", "b', "c")


def test_a_number_of_the_command_line_is_met_as_text_too() -> None:
    asked = cli._filter(None, None, None, None, ["id=5", "ok=true", "kind=class", 'q="5"'])
    assert asked.metadata == {"id": ("5", 5), "ok": True, "kind": "class", "q": "5"}


def test_an_incomplete_result_blames_a_filter_only_where_there_is_one() -> None:
    for filters, said in [
        (NO_FILTER, "there are fewer"),
        (SearchFilter(("a",)), "the filter left"),
    ]:
        screen = Console(width=100)
        with screen.capture() as shown:
            screen.print(console.hits(SearchResult((), False, "g", filters=filters)))
        assert said in shown.get()
