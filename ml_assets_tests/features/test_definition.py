"""What a definition can be, and what is a change of it."""

import importlib
from dataclasses import replace
from datetime import timedelta
from functools import partial
from math import nan
from pathlib import Path
from typing import Any

import pytest

from ml_assets.errors import FeatureViewError
from ml_assets.features import Feature, FeatureView, Function, Query, Table
from ml_assets.features.definition import describe, fingerprint
from ml_assets.features.registry import page

WORDS = Feature("words", "bigint", "words of it", 0)
VIEW = FeatureView(
    name="mine",
    version=1,
    entity="author",
    description="A view",
    features=(WORDS,),
    uses=frozenset({"serving"}),
    source=Query("select author, words from documents"),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Mine"}, "'Mine' is not a name"),
        ({"name": "online"}, "the name online is taken"),
        ({"name": "label"}, "the name label is taken"),
        ({"features": (replace(WORDS, name="a b"),)}, "'a b' is not a name"),
        ({"features": (replace(WORDS, name="event_time"),)}, "cannot be called event_time"),
        ({"features": (replace(WORDS, name="rowid"),)}, "cannot be called rowid"),
        ({"features": (replace(WORDS, name="place"),)}, "cannot be called place"),
        ({"features": (WORDS, WORDS)}, "two of its features have one name"),
        ({"features": ()}, "it has no features"),
        ({"version": 0}, "version 0 is less than 1"),
        ({"version": True}, "version True is no whole number"),
        ({"uses": frozenset({"train"})}, r"its uses, \['train'\], are not among training, serving"),
        ({"features": (replace(WORDS, dtype="float"),)}, "'float' of words is none of bigint"),
        ({"features": (replace(WORDS, nulls="no"),)}, "'no' of words is none of allowed"),
        ({"features": (replace(WORDS, minimum=nan),)}, "a bound of words is no number"),
        ({"entity": "text"}, "'text' is neither"),
        ({"entity": "label"}, "'label' is neither"),
        ({"source": "a.csv"}, "its source, 'a.csv', is no Query, Function or Table"),
        ({"entity": ""}, "'' is neither document, collection nor a key"),
        ({"entity": "event_time"}, "'event_time' is neither"),
        ({"ttl": timedelta(0)}, "a ttl of 0:00:00 leaves nothing; without one"),
        ({"features": (replace(WORDS, maximum=-1),)}, "the range of words, 0 to -1, is empty"),
        ({"features": (replace(WORDS, dtype="varchar"),)}, "of type varchar, which has no range"),
        (
            {"uses": frozenset({"training"}), "features": (Feature("a", "boolean", ""),)},
            "a is of type boolean; models are trained on numbers",
        ),
        ({"uses": frozenset({"training"})}, "hold the document itself.*give an event time"),
    ],
)
def test_a_definition_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FeatureViewError, match=f"{message}.*Correct its definition"):
        replace(VIEW, **change)


def test_for_training_values_have_to_be_of_before() -> None:
    for more in (
        {"source": Query("select 1", event_time="at")},
        {"source": Table("a.csv", "author", "at")},
        {"entity": "document"},
    ):
        replace(VIEW, uses=frozenset({"training"}), **more)  # type: ignore[arg-type]


LIMIT = 3
"""A constant of the function below."""


def inner(text: str) -> int:
    return len(text) + LIMIT


def lengths(rows: Any) -> Any:
    """Say how long rows are."""
    return {"words": [inner(row["text"]) for row in rows]}


def as_written() -> Any:
    def lengths(rows: Any) -> Any:
        # Laid out otherwise, with another docstring.
        return {
            "words": [inner(row["text"]) for row in rows],
        }

    return lengths


def otherwise() -> Any:
    def lengths(rows: Any) -> Any:
        return {"words": [inner(row["title"]) for row in rows]}

    return lengths


def of(compute: Any, **more: Any) -> str:
    return fingerprint(replace(VIEW, source=Function(compute, **more)))


def test_the_code_of_a_function_is_part_of_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of(lengths) == of(as_written())
    assert of(lengths) != of(otherwise())
    assert of(lengths) != of(lengths, inputs=("text",))
    before = of(lengths)
    monkeypatch.setitem(globals(), "LIMIT", 4)
    assert of(lengths) != before
    monkeypatch.setitem(globals(), "LIMIT", 3)
    assert of(lengths) == before
    monkeypatch.setitem(globals(), "inner", as_written())
    assert of(lengths) != before


OWN = """
import re

SEEN = []
WEIGHTS = {"a": 1}
WORD: "re.Pattern[str]" = re.compile("[a-z]+")


def weighed(rows):
    SEEN.append(len(rows))
    return {"words": [sum(WEIGHTS.get(w, 0) for w in WORD.findall(r["text"])) for r in rows]}
"""


def test_constants_of_a_function_count_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run puts into them does not."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(number: int, text: str) -> Any:
        (tmp_path / f"weighing{number}.py").write_text(text)
        return importlib.import_module(f"weighing{number}").weighed

    before = of(own := written(1, OWN))
    assert own([{"text": "a b a"}]) == {"words": [2]}
    assert of(own) == before
    assert of(written(2, OWN.replace('"a": 1', '"a": 2'))) != before
    assert of(written(3, OWN.replace("[a-z]+", "[A-Z]+"))) != before
    assert of(written(4, OWN.replace("WORD:", "# A word.\n\nWORD:"))) == before


def test_a_function_whose_code_cannot_be_told_is_refused() -> None:
    """Else a change of it would go unseen: values of before would stay."""
    made: dict[str, Any] = {}
    exec("def unread(rows): return {}", made)  # noqa: S102
    for compute in (len, VIEW.__eq__, partial(lengths, []), made["unread"], None):
        with pytest.raises(FeatureViewError, match=r"cannot be read\. Give one that `def` makes"):
            of(compute)


@pytest.mark.parametrize(
    "change",
    [
        {"source": Query("select author, words + 1 as words from documents")},
        {"source": Query("select author, words from documents", event_time="at")},
        {"source": Table("a.csv", "author", "at")},
        {"source": None},
        {"features": (replace(WORDS, unit="words"),)},
        {"features": (replace(WORDS, nulls="refused"),)},
        {"entity": "document"},
    ],
)
def test_source_unit_and_nulls_are_meaning(change: dict[str, Any]) -> None:
    assert fingerprint(replace(VIEW, **change)) != fingerprint(VIEW)


def test_layout_owner_and_place_are_not() -> None:
    source = Query("  select author, words\n    from documents\n")
    lines = Query("select author, words\nfrom documents")
    assert fingerprint(replace(VIEW, source=source)) == fingerprint(replace(VIEW, source=lines))
    assert fingerprint(replace(VIEW, owner="me")) == fingerprint(VIEW)
    here, there = (Table(name, "author", "at") for name in ("a.csv", "s3://b/a.csv"))
    assert fingerprint(replace(VIEW, source=here)) == fingerprint(replace(VIEW, source=there))


def test_a_page_and_a_row_follow_from_the_definition() -> None:
    view = replace(VIEW, owner="team:a", ttl=timedelta(days=2))
    text = page(view)
    for part in (
        "A view.",
        "- owner: team:a",
        "- ttl: 2 days",
        "| `words` | bigint | - | from 0 |",
    ):
        assert part in text
    assert describe(view)["ttl_seconds"] == 172_800
    assert describe(view)["source"]["sql"] == "select author, words from documents"
