"""What is reported: one line per index, searches side by side, and what guides promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

FILTERED = (10, 1)
"""Percent of the rows that pass the filters under which queries are timed, too."""

_MIB = 2**20


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a query."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """The percentiles of queries that took so long."""
        p50, p95, p99 = (round(float(ms), 3) for ms in np.percentile(seconds, (50, 95, 99)) * 1e3)
        return cls(p50, p95, p99)

    def __str__(self) -> str:
        """E.g. `0.52 / 0.81 / 1.20`."""
        return " / ".join(f"{ms:.2f}" for ms in (self.p50, self.p95, self.p99))


@dataclass(frozen=True)
class IndexLine:
    """What was measured of one index; sizes in bytes, `rates` in queries/s by clients."""

    name: str
    vectors: int
    parameters: Mapping[str, Any]
    build_seconds: float
    disk: int
    peak: int
    recall: float
    latency: Latency
    rates: Mapping[int, float]
    filtered: Mapping[int, Latency] = field(default_factory=dict)
    """By the percent of the rows that pass; none where the index has no filters."""


@dataclass(frozen=True)
class Promise:
    """What guides of this field promise for 1,000,000 vectors."""

    index: str
    build: str
    memory: str
    recall: str
    p99: str


PROMISES = (
    Promise("HNSW (16, 64)", "2 to 5 min", "2 to 4 GB", "0.95 to 0.98", "5 to 15"),
    Promise("IVF-PQ", "", "0.5 to 1 GB", "0.85 to 0.92", ""),
)


@dataclass(frozen=True)
class Target:
    """What must be reached; `measured` is kept within it or is not."""

    what: str
    measured: float
    least: float | None = None
    most: float | None = None

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return (self.least is None or self.measured >= self.least) and (
            self.most is None or self.measured <= self.most
        )

    def __str__(self) -> str:
        """E.g. `recall@10 of …: 0.991, must be ≥ 0.985: reached`."""
        asked = (("≥", self.least), ("≤", self.most))
        bounds = [f"{sign} {bound:g}" for sign, bound in asked if bound is not None]
        said = "reached" if self.reached else "**not reached**"
        return f"- {self.what}: {self.measured:.3g}, must be {', '.join(bounds)}: {said}"


_HEAD = (
    "index",
    "parameters",
    "build s",
    "disk MiB",
    "peak MiB",
    "recall@10",
    "p50 / p95 / p99 ms",
    "queries/s, 1 client",
    "8 clients",
    *(f"{percent} % pass, p50 / p95 / p99 ms" for percent in FILTERED),
)


def index_table(lines: Iterable[IndexLine], promises: Iterable[Promise] = ()) -> str:
    """The indexes, and what is promised of such, as a Markdown table."""
    rows = [
        (
            one.name,
            _parameters(one.parameters),
            f"{one.build_seconds:,.1f}",
            f"{one.disk / _MIB:,.0f}",
            f"{one.peak / _MIB:,.0f}",
            f"{one.recall:.3f}",
            str(one.latency),
            *(f"{rate:,.0f}" for rate in one.rates.values()),
            *(str(one.filtered.get(percent, "")) for percent in FILTERED),
        )
        for one in lines
    ]
    rows += [
        (f"guides: {one.index}", "", one.build, "", one.memory, one.recall, one.p99, *[""] * 4)
        for one in promises
    ]
    return markdown(_HEAD, rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_json(line: Any) -> dict[str, Any]:
    """A line, a target or a promise with all its fields."""
    return asdict(line) | ({"reached": line.reached} if isinstance(line, Target) else {})


def _parameters(parameters: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in parameters.items() if name not in _LEFT_OUT}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


_LEFT_OUT = {"index", "layout", "distance"}
