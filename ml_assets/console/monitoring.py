"""What is watched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from ml_assets.console.layout import moment, table

if TYPE_CHECKING:
    from ml_assets.monitoring.overview import Watched


def watched(rows: Sequence[Watched], now: datetime) -> RenderableType:
    """Every series with its last value; what is out of the ordinary says by how much."""
    from ml_assets.monitoring.trends import sparkline

    if not rows:
        return Text("Nothing is watched yet: no prediction was loaded, and no search was measured.")
    shown = [
        {
            "series": row.series,
            "metric": row.metric,
            "": sparkline(row.values),
            "last": row.last,
            "at": row.at,
            "out of the ordinary": _deviation(row.deviation),
        }
        for row in rows
    ]
    return table(f"{moment(now)} UTC: hours of two days, days of search", shown)


def _deviation(score: float | None) -> str:
    return (
        "" if score is None else f"{abs(score):.0f} deviations {'above' if score > 0 else 'below'}"
    )
