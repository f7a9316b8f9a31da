"""Pictures of what drifted, as matplotlib figures that need no display."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_assets.features.drift.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 30
_MOST_CATEGORIES = 15


def drift_plot(name: str, before: Summary, now: Summary) -> Figure:
    """The values of one feature on both sides, in shares of the rows.

    Of a number a histogram of the middle 98 % of both, what lies beyond in its first and last bin;
    of a category the names whose shares differ most.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3))
    axes = figure.subplots()
    if before.numeric:
        _histogram(axes, before, now)
    else:
        _bars(axes, before, now)
    axes.set_title(name, fontsize=9, parse_math=False)
    axes.legend(fontsize=7)
    return figure


def _histogram(axes: Axes, before: Summary, now: Summary) -> None:
    import numpy as np

    ends = [each.quantiles((0.01, 0.99)) for each in (before, now)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    for label, each in (("before", before), ("now", now)):
        values, counts = each.distribution()
        weights = counts / each.known
        axes.hist(values.clip(low, high), edges.tolist(), weights=weights, alpha=0.5, label=label)
    axes.set_ylabel("share")


def _bars(axes: Axes, before: Summary, now: Summary) -> None:
    import numpy as np

    shares = [
        {name: count / each.known for name, count in each.counts.items()} for each in (before, now)
    ]
    names = sorted(
        {*shares[0], *shares[1]},
        key=lambda name: -abs(shares[1].get(name, 0) - shares[0].get(name, 0)),
    )[:_MOST_CATEGORIES]
    places = np.arange(len(names))
    for label, each, shift in (("before", shares[0], -0.2), ("now", shares[1], 0.2)):
        heights = [each.get(name, 0) for name in names]
        axes.barh(places + shift, heights, 0.4, label=label)
    axes.set_yticks(places, [str(name)[:30] for name in names], fontsize=7, parse_math=False)
    axes.set_xlabel("share")
