"""The quality of a search as metadata: tables of methods and queries, and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.defs.assets import plot, table
from ml_assets.documents.sources.base import JudgedQueries
from ml_assets.search.evaluation.measurement import MethodQuality
from ml_assets.search.evaluation.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_QUERIES = 25
"""Wins shown, and losses shown; the record of the generation has all of them."""


def quality_metadata(quality: MethodQuality, judged: JudgedQueries) -> dict[str, dg.MetadataValue]:
    """What a measured generation shows of its methods on the judged queries, if there are any."""
    if not quality.methods:
        return {}
    shown: dict[str, dg.MetadataValue] = {"methods": table(_method_rows(quality))}
    shown["results"] = dg.MetadataValue.json(dict(quality.methods))
    if compared := quality.comparison:
        shown["hybrid_against_best_single"] = dg.MetadataValue.json(asdict(compared))
        shown["wins_and_losses"] = table(query_rows(quality.ndcg, compared.against, judged))
        shown["metrics_plot"] = plot(_draw(quality))
    return shown


def query_rows(
    ndcg: Mapping[str, Mapping[str, float]], against: str, judged: JudgedQueries
) -> list[dict[str, Any]]:
    """The queries that hybrid wins and loses most against a single index, best first."""
    texts = {query.query_id: query.text for query in judged}
    rows: list[dict[str, Any]] = [
        {
            "query": " ".join(texts.get(query_id, query_id).split()),
            "hybrid": value,
            against: ndcg[against][query_id],
            "difference": value - ndcg[against][query_id],
        }
        for query_id, value in ndcg["hybrid"].items()
    ]
    rows.sort(key=lambda row: -row["difference"])
    wins = [row for row in rows if row["difference"] > 0][:MOST_QUERIES]
    losses = [row for row in rows if row["difference"] < 0][-MOST_QUERIES:]
    return [*wins, *losses]


def _method_rows(quality: MethodQuality) -> list[dict[str, Any]]:
    return [
        {
            "method": method,
            "half": half,
            "queries": metrics["queries"],
            **{
                name: f"{metrics[name]:.3f} ({low:.3f} to {high:.3f})"
                for name in METRICS
                for low, high in [quality.intervals[method][half][name]]
            },
        }
        for method, halves in quality.methods.items()
        for half, metrics in halves.items()
    ]


def _draw(quality: MethodQuality) -> Figure:
    """The metrics of each method with their intervals, on the half that nothing is tuned on."""
    from matplotlib.figure import Figure

    means = {name: halves["reporting"] for name, halves in quality.methods.items()}
    names = list(METRICS)
    width = 0.8 / len(means)
    figure = Figure(figsize=(8, 3))
    axes = figure.subplots()
    for place, (method, metrics) in enumerate(means.items()):
        intervals = quality.intervals[method]["reporting"]
        values = [metrics[name] for name in names]
        below = [metrics[name] - intervals[name][0] for name in names]
        above = [intervals[name][1] - metrics[name] for name in names]
        at = [index + place * width for index in range(len(names))]
        axes.bar(at, values, width, yerr=[below, above], capsize=2, label=method)
    axes.set_xticks([index + 0.4 - width / 2 for index in range(len(names))], names)
    axes.set_ylim(0, 1)
    axes.set_title("Judged queries, reporting half, with 95 % intervals")
    axes.legend()
    return figure
