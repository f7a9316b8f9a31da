"""What is shown at a prompt, of a search that was measured."""

from __future__ import annotations

from rich.console import Console

from ml_assets.console.layout import table
from ml_assets.console.status import standing
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


def test_without_judged_queries_there_is_the_recall_alone() -> None:
    lines = shown(measurement(recall={"pgvector": 0.99}))
    assert "pgvector 0.990" in lines
    assert not any("hybrid" in line for line in lines)


def test_a_narrow_table_cuts_no_id() -> None:
    screen = Console(width=12)
    with screen.capture() as shown:
        screen.print(table("Releases", [{"search": "a5240ba5e3f03837"}]))
    assert "".join(shown.get().split()).endswith("a5240ba5e3f03837")
