"""Pictures of time series, as matplotlib figures that need no display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_assets.monitoring.anomalies import Series
from ml_assets.monitoring.hourly import Found

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
