"""Pictures of time series, as matplotlib figures that need no display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ml_assets.monitoring.anomalies import Series
from ml_assets.monitoring.hourly import Found
from ml_assets.monitoring.trends import RANGED, Trend
from ml_assets.training.results import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SERIES = 10
"""Series, runs and releases of one picture: more cannot be told apart."""

_MOST_POINTS = 400
"""Of a line; of a longer one the last."""


def anomaly_plot(title: str, series: Series, found: Sequence[Found]) -> Figure:
    """A series, with what was expected in the hours that were out of the ordinary."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.5))
    axes = figure.subplots()
    times = [series.at(place) for place in range(len(series.values))]
    axes.plot(times, series.values.tolist(), linewidth=1)  # type: ignore[arg-type]
    for each in found:
        begin, end = each.began_at, each.ended_at + series.step
        axes.axvspan(begin, end, alpha=0.15, color="tab:red")  # type: ignore[arg-type]
        axes.hlines(each.expected, begin, end, color="tab:green", linestyles="dashed")  # type: ignore[arg-type]
    figure.autofmt_xdate()
    axes.set_title(title, fontsize=9, parse_math=False)
    return figure


def comparison_plot(summaries: Sequence[Summary]) -> Figure:
    """The last ten candidates side by side: macro-F1, seconds of the fit, latency, memory."""
    from matplotlib.figure import Figure

    shown = summaries[-MOST_SERIES:]
    panels = {
        "macro_f1": "macro-F1 on test",
        "fit_seconds": "seconds of the fit",
        "one_text_p95_ms": "one text, p95 ms",
        "thousand_texts_p95_ms": "1,000 texts, p95 ms",
        "peak_memory_mib": "memory, MiB",
    }
    figure = Figure(figsize=(12, 1 + 0.3 * max(3, len(shown))))
    names = [f"{each.family} {each.run_id[:6]}" for each in shown]
    for axes, (metric, title) in zip(
        figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True
    ):
        values = [getattr(each, metric) or 0.0 for each in shown]
        axes.barh(range(len(shown)), values)
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.set_yticks(range(len(shown)), names, parse_math=False)
    figure.tight_layout()
    return figure


def trend_plot(
    title: str, trends: Sequence[Trend], releases: Mapping[str, datetime] | None = None
) -> Figure:
    """Series over time, each in the range of 19 in 20 of its last values; releases are lines.

    Only releases of the time that the series have, the last ten of them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.8))
    axes = figure.subplots()
    figure.subplots_adjust(right=0.72)  # the names of the series stand beside them
    for trend in trends[:MOST_SERIES]:
        times: Any = list(trend.times[-_MOST_POINTS:])
        (line,) = axes.plot(times, trend.values[-_MOST_POINTS:], marker=".", linewidth=1)
        line.set_label(trend.name.replace("$", r"\$"))
        since, color = times[-RANGED:], line.get_color()
        axes.fill_between(
            since, trend.quantile(0.05), trend.quantile(0.95), alpha=0.12, color=color
        )
    known = [at for trend in trends[:MOST_SERIES] for at in trend.times[-_MOST_POINTS:]]
    marks = {
        name: at
        for name, at in (releases or {}).items()
        if known and min(known) <= at <= max(known)
    }
    for name, at in sorted(marks.items(), key=lambda mark: mark[1])[-MOST_SERIES:]:
        when: Any = at
        axes.axvline(when, color="grey", linestyle="dotted", linewidth=1)
        axes.annotate(
            name,
            (when, 1),
            xycoords=("data", "axes fraction"),
            rotation=90,
            va="top",
            fontsize=6,
            parse_math=False,
        )
    if trends:
        axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.tick_params(labelsize=7)
    figure.autofmt_xdate()
    return figure
