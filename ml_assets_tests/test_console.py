"""What is shown at a prompt, of a search that was measured."""

from __future__ import annotations

import re

from rich.console import Console

from ml_assets.console.layout import table
from ml_assets.console.queries import hits
from ml_assets.console.status import standing
from ml_assets.search.answering.model import Hit, SearchResult
from ml_assets.search.evaluation.measurement import (
    Comparison,
    Measurement,
    MethodQuality,
    as_json,
)
from ml_assets.search.evaluation.metrics import METRICS
from ml_assets_tests.search.measurements import measurement

METHODS = ("hybrid", "vector", "keyword")
QUALITY = MethodQuality(
    methods={
        name: {"reporting": {**dict.fromkeys(METRICS, 0.5), "queries": 300}} for name in METHODS
    },
    intervals={name: {"reporting": dict.fromkeys(METRICS, (0.451, 0.549))} for name in METHODS},
    comparison=Comparison("hybrid", "keyword", 0.055, (0.033, 0.078), wins=68, ties=0, losses=18),
)


def shown(measurement: Measurement) -> list[str]:
    figures = {"measurement": as_json(measurement), "candidates": [], "champion": None}
    screen = Console(width=80)
    with screen.capture() as captured:
        for part in standing(figures):
            screen.print(part)
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def test_methods_are_shown_with_intervals_in_eighty_columns() -> None:
    lines = shown(measurement(quality=QUALITY))
    assert "method queries ndcg (95 %) mrr recall precision map" in lines
    assert "hybrid 300 reporting 0.500 (0.45 to 0.55) 0.500 0.500 0.500 0.500" in lines
    assert "hybrid against keyword: nDCG +0.055 (+0.033 to +0.078), 68 better, 18 worse" in lines


def test_a_family_that_was_left_out_is_one_line() -> None:
    figures = {"measurement": None, "candidates": [], "champion": None}
    lines = [str(part) for part in standing({**figures, "left_out": ["tfidf: no [terms] remain"]})]
    assert lines == ["\n  Not trained: tfidf: no [terms] remain"]


def test_what_drifted_is_one_line() -> None:
    found = [
        {"summary": f"x{number} 2.0 times its limit (mean 1 → mean 2)", "came": "suddenly"}
        for number in range(4)
    ]
    figures = {"measurement": None, "candidates": [], "champion": None}
    for drifted, told in ((found, 1), ([], 0)):
        drift = {"day": "2026-03-20", "drifted": drifted}
        lines = [str(part) for part in standing({**figures, "drift": drift})]
        assert len(lines) == told
    (line,) = (str(part) for part in standing({**figures, "drift": {**drift, "drifted": found}}))
    assert line.strip().startswith("What came until 2026-03-20 has drifted: x0 2.0 times")
    assert line.endswith("x2 2.0 times its limit (mean 1 → mean 2) suddenly; and 1 more.")


def test_without_judged_queries_there_is_the_recall_alone() -> None:
    lines = shown(measurement(recall={"pgvector": 0.99}))
    assert "pgvector 0.990" in lines
    assert not any("hybrid" in line for line in lines)


def test_a_narrow_table_cuts_no_id() -> None:
    screen = Console(width=12)
    with screen.capture() as shown:
        screen.print(table("Releases", [{"search": "a5240ba5e3f03837"}]))
    assert "".join(shown.get().split()).endswith("a5240ba5e3f03837")


def test_a_document_gives_the_terminal_no_commands() -> None:
    escape = "\x1b[2J"
    hit = Hit(
        document_id=f"a{escape}",
        title="\x1b]0;title\x07",
        url=f"{escape}http://h",
        collection="c",
        label=None,
        score=1.0,
        relevance=0.5,
        text="",
        snippet="see\x9b1m this",
        chunk_index=0,
        start_offset=0,
        end_offset=0,
    )
    screen = Console(width=80, force_terminal=False)
    with screen.capture() as captured:
        screen.print(hits(SearchResult((hit,), complete=True, generation_id="g")))
        screen.print(table(f"{escape}Title", [{"name": f"{escape}blink"}]))
    text = captured.get()
    assert not set(text) & {"\x1b", "\x07", "\x9b"}
    assert {"http://h", "Title", "blink"} <= set(
        re.split(r"\s+|\W\[2J|\N{REPLACEMENT CHARACTER}", text)
    )
