"""Where a series stands: its last value, its moving average, and the range it used to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ml_assets.training.results import SUMMARIZED, Summary

AVERAGED, RANGED = 5, 20
"""Values of the moving average, and of the range of 19 in 20: as `experiment_trends` has them."""

_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Trend:
    """A series with its last values; `change` is None where there is but one."""

    name: str
    metric: str
    times: tuple[datetime, ...]
    values: tuple[float, ...]

    @property
    def last(self) -> float:
        """The last value."""
        return self.values[-1]

    @property
    def change(self) -> float | None:
        """What the last value is above the one before."""
        return self.last - self.values[-2] if len(self.values) > 1 else None

    @property
    def moving_average(self) -> float:
        """The mean of the last five values."""
        recent = self.values[-AVERAGED:]
        return sum(recent) / len(recent)

    def quantile(self, share: float) -> float:
        """A quantile of the last twenty values, between two of them linear."""
        import numpy as np

        return float(np.quantile(self.values[-RANGED:], share))

    def row(self) -> dict[str, Any]:
        """It as a table shows it."""
        return {
            "series": self.name,
            "metric": self.metric,
            "values": len(self.values),
            "last": self.last,
            "change": self.change,
            "moving_average": self.moving_average,
            "p5": self.quantile(0.05),
            "p95": self.quantile(0.95),
        }


def sparkline(values: Sequence[float | None], width: int = 24) -> str:
    """The last values as blocks from the least to the largest; a blank where there is none."""
    shown = list(values)[-width:]
    known = [value for value in shown if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if v is None else _BLOCKS[round((v - low) * scale)] for v in shown)


def trends_of(
    name: str, rows: Sequence[Mapping[str, Any]], at: str, metrics: Sequence[str]
) -> list[Trend]:
    """The series of some metrics in rows by their time `at`; of what is nowhere known, none."""
    found = []
    for metric in metrics:
        known = [(row[at], row[metric]) for row in rows if row[metric] is not None]
        if known:
            times, values = zip(*known, strict=True)
            found.append(Trend(name, metric, times, tuple(map(float, values))))
    return found


def family_trends(summaries: Sequence[Summary]) -> list[Trend]:
    """Every number of every family over its trainings, the first training first."""
    families = sorted({each.family for each in summaries})
    return [
        trend
        for family in families
        for trend in trends_of(
            family,
            [asdict(each) for each in summaries if each.family == family],
            "logged_at",
            SUMMARIZED,
        )
    ]
