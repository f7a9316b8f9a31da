"""What is watched, trends, and models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from ml_assets.console.layout import moment, table

if TYPE_CHECKING:
    from ml_assets.monitoring.overview import Watched
    from ml_assets.monitoring.trends import Trend

WIDTH = 24
"""Blocks of a sparkline."""


def watched(rows: Sequence[Watched], now: datetime) -> RenderableType:
    """Every series with its last value; what is out of the ordinary says by how much."""
    from ml_assets.monitoring.trends import sparkline

    if not rows:
        return Text("Nothing is watched yet: no prediction was loaded, and no search was measured.")
    shown = [
        {
            "series": row.series,
            "metric": row.metric,
            "": sparkline(row.values, WIDTH),
            "last": row.last,
            "at": row.at,
            "out of the ordinary": _deviation(row.deviation),
        }
        for row in rows
    ]
    return table(f"{moment(now)} UTC: hours of two days, days of search", shown)


def trends(name: str, rows: Sequence[Trend]) -> RenderableType:
    """Where each metric stands."""
    from ml_assets.monitoring.trends import sparkline

    shown = [
        {
            "metric": row.metric,
            "": sparkline(row.values, WIDTH),
            **{key: value for key, value in row.row().items() if key not in ("series", "metric")},
        }
        for row in rows
    ]
    return table(f"{name}: the mean of the last 5, the range of the last 20", shown)


def compared(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Two models side by side."""
    return table("Quality and costs; the difference is that of the second to the first", rows)


def _deviation(score: float | None) -> str:
    return (
        "" if score is None else f"{abs(score):.0f} deviations {'above' if score > 0 else 'below'}"
    )
