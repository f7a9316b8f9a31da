"""What every store of metrics does, and what goes in and out of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Times = NDArray[np.datetime64]

Grain = Literal["minute", "hour", "day"]

GRAINS: dict[Grain, timedelta] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
"""Spans of the rollups, the shortest first. They begin at multiples of it since 1970, in UTC."""

ACCURACY = 0.02
"""A quantile of a sketch is off by so much of the value at most, where its magnitude is between
`LEAST` and `MOST`; a smaller one counts as 0, a larger one as `MOST`. Of q of n points it is the
value of rank floor(q (n - 1)), from 0 on, as `numpy.quantile(method="lower")` has it. The sketch
counts values by the power of (1 + ACCURACY) / (1 - ACCURACY) they reach, so two are merged by
addition and nothing is lost by it (DDSketch, Masson et al., VLDB 2019)."""

LEAST, MOST = 1e-9, 1e18

LARGEST = 1e150
"""Magnitude of a value, at most: its square is a number, too."""

HOURS = 4
"""Rollups by the hour are kept so many times as long as points."""

Labels = tuple[tuple[str, str], ...]
"""Keys and values, by key."""

LONGEST_LABEL = 500
"""Characters of a label's value."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """From `begin` on and before `end`, both with a time zone."""

    begin: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.begin.tzinfo is None or self.end.tzinfo is None or not self.begin < self.end:
            raise ValueError(f"{self.begin} to {self.end} is no span of time")

    @property
    def micros(self) -> tuple[int, int]:
        """Both ends as microseconds since 1970."""
        return micros(self.begin), micros(self.end)


@dataclass(frozen=True)
class Series:
    """A name with labels, such as a model, a release, an endpoint; `series` makes one."""

    name: str
    labels: Labels = ()

    @cached_property
    def id(self) -> int:
        """63 bits of its sha256."""
        text = json.dumps([self.name, self.labels])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def series(name: str, **labels: str) -> Series:
    """A series of a metric.

    Raises:
        ValueError: a name is not letters, digits and _; or a label is empty, longer than
            `LONGEST_LABEL`, or has a character that no text has.
    """
    for each in (name, *labels):
        if not _NAME.fullmatch(each):
            raise ValueError(f"{each!r} is not a name of letters, digits and _")
    for key, value in labels.items():
        if not 0 < len(value) <= LONGEST_LABEL or not _is_text(value):
            raise ValueError(f"the label {key} has no value of 1 to {LONGEST_LABEL} characters")
    return Series(name, tuple(sorted(labels.items())))


@dataclass(frozen=True, slots=True)
class Points:
    """Values of one series: `times` are datetime64[us] in UTC, `values` float64, both of shape n.

    Of two points at one time the last counts.
    """

    series: Series
    times: Times
    values: Floats


def points(each: Series, pairs: Iterable[tuple[datetime, float]]) -> Points:
    """Points from pairs of a time, which has a zone, and a value.

    Raises:
        ValueError: a time has no zone.
    """
    import numpy as np

    given = list(pairs)
    if any(at.tzinfo is None for at, _ in given):
        raise ValueError("a time has no zone")
    times = np.array([micros(at) for at, _ in given], dtype=np.int64)
    values = np.array([value for _, value in given], dtype=np.float64)
    return Points(each, times.view("datetime64[us]"), values)


@dataclass(frozen=True, slots=True)
class Query:
    """What is read: the series of a name that have these labels, in a window.

    Series that are equal in the labels `by` are one group; None: each series is a group.
    """

    name: str
    window: Window
    labels: Mapping[str, str] = field(default_factory=dict)
    by: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Buckets:
    """Aggregates of a group, by the times at which their buckets begin; all of shape n.

    A bucket without points is not there. `deviations` are those of samples (n - 1), NaN of one
    point. `quantiles` has what was asked for.
    """

    labels: Labels
    times: Times
    counts: NDArray[np.int64]
    means: Floats
    minima: Floats
    maxima: Floats
    deviations: Floats
    quantiles: Mapping[float, Floats]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the points on the disk: those of a span of time. Of a rollup it is all of it.

    `raw` are the bytes of its rows before they were compressed, `stored` those on the disk, with
    indexes.
    """

    name: str
    rows: int
    raw: int
    stored: int
    window: Window | None = None
    is_compressed: bool = False


@dataclass(frozen=True, slots=True)
class Sizes:
    """What points and rollups take.

    `written` are bytes of the rows as they were given: name, labels, time and value of each.
    `has_intervals`: a person sets the span of time that a chunk of points is of.
    """

    written: int
    points: Sequence[Chunk]
    rollups: Sequence[Chunk]
    has_intervals: bool = False

    @property
    def rows(self) -> int:
        """Points."""
        return sum(chunk.rows for chunk in self.points)

    @property
    def stored(self) -> int:
        """Bytes on the disk, those of the rollups too."""
        return sum(chunk.stored for chunk in (*self.points, *self.rollups))


@dataclass(frozen=True, slots=True)
class Retention:
    """Days for which points, and rollups by the minute, are kept.

    Those by the hour are kept `HOURS` times as long, those by the day always.
    """

    days: int = 400

    def first(self, grain: Grain | None, now: datetime) -> date | None:
        """The first day of which there is anything; None: all are kept."""
        if grain == "day":
            return None
        factor = HOURS if grain == "hour" else 1
        return now.astimezone(UTC).date() - timedelta(days=self.days * factor)

    def since(self, now: datetime) -> date:
        """The first day of which there are points."""
        return now.astimezone(UTC).date() - timedelta(days=self.days)


class MetricStore(Protocol):
    """Points of series, and their rollups by minute, hour and day."""

    def write(self, batch: Iterable[Points]) -> int:
        """Write points, and bring the rollups of their times up to date; return how many.

        A point that is written again replaces itself, so that a write that was cut short is
        repeated as a whole.

        Raises:
            ValueError: a value is beyond `LARGEST`, or a time before 1970 or after 2099.
            StoreError: a time is before `first_day`; or the store refuses.
        """

    def read(self, query: Query) -> list[Points]:
        """Read the points of each series, the oldest first."""

    def aggregate(
        self, query: Query, step: timedelta, quantiles: Sequence[float] = (), exact: bool = False
    ) -> list[Buckets]:
        """Aggregate by buckets of `step`, from the longest rollup it is a multiple of.

        With `exact`, or of a step that is no multiple of a minute, it is from the points, and
        quantiles are exact; else they are those of a sketch, off by `ACCURACY`.

        Raises:
            ValueError: the window or the step is not of whole steps since 1970, or of seconds.
        """

    def latest(self, query: Query) -> list[Points]:
        """Read the last point of each series."""

    def first_day(self, now: datetime) -> date:
        """The first day of which points are taken: it is kept, and none of it was dropped.

        What was dropped while less was kept is in longer rollups still, and would be twice.
        """

    def refresh(self) -> int:
        """Make good the rollups of what a killed write left behind; return of how many ranges."""

    def maintain(self, now: datetime) -> list[str]:
        """Compress what is a week old, and drop what is older than is kept; say what was done."""

    def sizes(self) -> Sizes:
        """What points and rollups take."""


def floor(at: datetime, span: timedelta) -> datetime:
    """The last multiple of a span since 1970 that is not after a time."""
    return at - (at - EPOCH) % span


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
