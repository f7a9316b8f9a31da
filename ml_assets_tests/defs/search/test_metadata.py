"""What the UI shows of the quality of a search."""

from __future__ import annotations

from ml_assets.defs.search.metadata import MOST_QUERIES, quality_metadata, query_rows
from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.search.evaluation.measurement import Comparison, MethodQuality
from ml_assets.search.evaluation.metrics import METRICS
from ml_assets_tests.graph import shown

JUDGED = tuple(
    JudgedQuery(str(number), f"question\n{number} | or so", {"d": 1}, "reporting")
    for number in range(3)
)
MEANS = {**dict.fromkeys(METRICS, 0.5), "queries": 3}
INTERVALS = dict.fromkeys(METRICS, (0.4, 0.6))
NDCG = {
    "hybrid": {"0": 0.2, "1": 0.5, "2": 1.0},
    "vector": {"0": 0.9, "1": 0.5, "2": 0.5},
    "keyword": {"0": 0.0, "1": 0.0, "2": 0.0},
}


QUALITY = MethodQuality(
    methods={name: {"reporting": MEANS} for name in NDCG},
    intervals={name: {"reporting": INTERVALS} for name in NDCG},
    ndcg=NDCG,
    comparison=Comparison("hybrid", "vector", 0.1, (0.0, 0.2), 1, 1, 1),
)


def test_methods_have_their_intervals_and_a_plot() -> None:
    metadata = quality_metadata(QUALITY, JUDGED)
    assert "| hybrid | reporting | 3 | 0.500 (0.400 to 0.600) |" in shown(metadata["methods"])
    assert "data:image/png;base64," in str(metadata["metrics_plot"].value)
    assert "| question 0 | or so | 0.2 | 0.9 | -0.7 |" in shown(metadata["wins_and_losses"])


def test_without_a_reporting_half_there_is_no_comparison() -> None:
    tuning = {name: {"tuning": MEANS} for name in NDCG}
    intervals = {name: {"tuning": INTERVALS} for name in NDCG}
    shown = quality_metadata(MethodQuality(tuning, intervals), JUDGED)
    assert set(shown) == {"methods", "results"}


def test_wins_come_first_and_losses_last_and_ties_not_at_all() -> None:
    rows = query_rows(NDCG, "vector", JUDGED)
    assert [row["query"][:10] for row in rows] == ["question 2", "question 0"]
    assert [row["difference"] for row in rows] == [0.5, 0.2 - 0.9]


def test_of_many_queries_the_clearest_are_shown() -> None:
    count = 3 * MOST_QUERIES
    hybrid = {str(number): number / count for number in range(count)}
    many = {"hybrid": hybrid, "vector": dict.fromkeys(hybrid, 0.5)}
    differences = [row["difference"] for row in query_rows(many, "vector", JUDGED)]
    assert len(differences) == 2 * MOST_QUERIES
    assert differences == sorted(differences, reverse=True)
    assert differences[0] == (count - 1) / count - 0.5
    assert differences[-1] == -0.5
