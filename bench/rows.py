"""What is reported: figures, rows that set one figure against another, the table, the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

Unit = Literal["s", "ms", "MiB", "/s", ""]
"""None: a share, like recall."""


@dataclass(frozen=True)
class Figure:
    """One thing measured, once per repetition; `count` of `things` were worked on."""

    name: str
    samples: tuple[float, ...]
    unit: Unit = "s"
    count: int = 0
    things: str = "chunks"

    @property
    def median(self) -> float:
        """The median of the repetitions."""
        return median(self.samples)

    def __str__(self) -> str:
        """E.g. `CocoIndex: 63.1 s (2,150 chunks, 34/s)`."""
        if not self.unit:
            return f"{self.name}: {self.median:.3f}"
        shown = f"{self.name}: {_number(self.median)} {self.unit}"
        if not self.count:
            return shown
        rate = f", {self.count / self.median:,.0f}/s" if self.unit == "s" else ""
        return f"{shown} ({self.count:,} {self.things}{rate})"


@dataclass(frozen=True)
class Limit:
    """At most `factor` times the figure it is set against, and `plus` of its unit.

    With `plus`, the factor is 0 or 1. With `at_least`, it is a limit from below.
    """

    factor: float = 0.0
    plus: float = 0.0
    at_least: float = 0.0
    unit: Unit = "s"

    def value(self, against: Figure | None) -> float:
        """The limit in the unit of the figure."""
        return self.at_least or self.factor * (against.median if against else 0.0) + self.plus

    def is_kept(self, measured: Figure, against: Figure | None) -> bool:
        """Whether the median is on the right side."""
        value = self.value(against)
        return measured.median >= value if self.at_least else measured.median <= value

    def __str__(self) -> str:
        """E.g. `ratio ≤ 0.55`, `≤ that + 1.5 s`, `≤ 2.5 s`, `≥ 0.98`."""
        if self.at_least:
            return f"≥ {self.at_least:g}"
        if not self.plus:
            return f"ratio ≤ {self.factor:g}"
        return f"≤ {'that + ' * bool(self.factor)}{self.plus:g} {self.unit}"


@dataclass(frozen=True)
class Row:
    """One figure, what it is set against, and the limit it must keep, if there is one."""

    what: str
    measured: Figure
    against: Figure | None = None
    limit: Limit | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the other figure this one is."""
        return self.measured.median / self.against.median if self.against else None

    @property
    def reached(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        return self.limit.is_kept(self.measured, self.against) if self.limit else None


_HEAD = ["what", "measured", "against", "ratio", "must reach", "reached"]


def table(rows: Sequence[Row]) -> str:
    """The rows as one Markdown table; what the row above says already is left out."""
    lines = list(map(_cells, rows))
    shown = [_unrepeated(above, line) for above, line in pairwise([_HEAD, *lines])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [_HEAD, ["---"] * len(_HEAD), *shown])


def _cells(row: Row) -> list[str]:
    return [
        row.what,
        str(row.measured),
        str(row.against or ""),
        "" if row.ratio is None else _number(row.ratio),
        str(row.limit or ""),
        {True: "yes", False: "**no**", None: ""}[row.reached],
    ]


def _unrepeated(above: Sequence[str], line: Sequence[str]) -> list[str]:
    if line[0] != above[0]:
        return list(line)
    return ["", "" if line[1] == above[1] else line[1], *line[2:]]


def as_json(row: Row) -> dict[str, object]:
    """The row with every repetition."""
    return {
        "what": row.what,
        "measured": _figure(row.measured),
        "against": _figure(row.against) if row.against else None,
        "ratio": row.ratio,
        "limit": {**row.limit.__dict__, "value": row.limit.value(row.against)}
        if row.limit
        else None,
        "reached": row.reached,
    }


def _figure(figure: Figure) -> dict[str, object]:
    return {**figure.__dict__, "median": figure.median}


def _number(value: float) -> str:
    """Three digits that count: 0.052, 1.64, 63.1, 1,234."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return (
        f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
        if abs(value) >= 0.1
        else f"{value:.3f}"
    )
