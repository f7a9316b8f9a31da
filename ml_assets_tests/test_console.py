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


def test_what_was_measured_before_there_were_intervals_is_left_out() -> None:
    """Until the next run a generation may carry the record of an older release."""
    older = {name: EVALUATION[name] for name in ("k", "recall", "sampled", "methods")}
    lines = shown(older)
    assert "pgvector 0.990" in lines
    assert not any("hybrid" in line for line in lines)
