"""What is shown at a prompt, of a search that was measured."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from ml_assets.console.status import standing
from ml_assets.search.evaluation.metrics import METRICS

METHODS = ("hybrid", "vector", "keyword")
EVALUATION: dict[str, Any] = {
    "k": 10,
    "recall": {"pgvector": 0.99},
    "sampled": 200,
    "methods": {
        name: {"reporting": {**dict.fromkeys(METRICS, 0.5), "queries": 300}} for name in METHODS
    },
    "intervals": {name: {"reporting": dict.fromkeys(METRICS, (0.451, 0.549))} for name in METHODS},
    "comparison": {
        "against": "keyword",
        "difference": 0.055,
        "interval": [0.033, 0.078],
        "wins": 68,
        "losses": 18,
    },
}


def shown(evaluation: dict[str, Any]) -> list[str]:
    generation = {"state": "published", "evaluation": evaluation}
    figures = {"generations": [generation], "candidates": [], "champion": None}
    screen = Console(width=80)
    with screen.capture() as captured:
        for part in standing(figures):
            screen.print(part)
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def test_methods_are_shown_with_intervals_in_eighty_columns() -> None:
    lines = shown(EVALUATION)
    assert "method queries ndcg (95 %) mrr recall precision map" in lines
    assert "hybrid 300 reporting 0.500 (0.45 to 0.55) 0.500 0.500 0.500 0.500" in lines
    assert "hybrid against keyword: nDCG +0.055 (+0.033 to +0.078), 68 better, 18 worse" in lines


def test_filters_are_shown_or_why_there_are_none() -> None:
    filters = [
        {"filter": f'label = "{label}"', "method": name, "ndcg@10": 0.5, "queries": 12}
        for label in ("a", "b")
        for name in METHODS
    ]
    lines = shown({**EVALUATION, "filters": filters, "no_filters": ""})
    assert "filter queries hybrid vector keyword" in lines
    assert 'label = "a" 12 0.500 0.500 0.500' in lines
    assert sum(line.startswith("label =") for line in lines) == 2
    lines = shown({**EVALUATION, "filters": [], "no_filters": "nothing tells them apart"})
    assert "no filter was measured: nothing tells them apart" in lines


def test_what_was_measured_before_there_were_intervals_is_left_out() -> None:
    """Until the next run a generation may carry the record of an older release."""
    older = {name: EVALUATION[name] for name in ("k", "recall", "sampled", "methods")}
    lines = shown(older)
    assert "pgvector 0.990" in lines
    assert not any("hybrid" in line for line in lines)
