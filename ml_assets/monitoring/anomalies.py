"""What is out of the ordinary in a time series: points, and levels that changed.

Each point is judged by what came before it, so that the verdict on a day is the same today and in a
backfill. What is expected is the median of the same weekday and time of day in the weeks before;
where those are too few, the median of the days before. How far off a point may be is the median
absolute deviation around that time of day: neither breaks down by what was out of the ordinary
before. What is missing is no deviation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Kind = Literal["sudden", "lasting"]

DAY = timedelta(days=1)
WEEKS = 5
"""Weeks before a point that say what is expected; two of them may have been extraordinary."""

LEAST_WEEKS = 3
DAYS = 28
"""Days before a point that say how far off the ordinary is."""

LEAST_DAYS = 7
LEAST_POINTS = 24
"""Points that a series has before it is judged without a season."""

NORMAL = 1.4826
"""A median absolute deviation of 1 / 1.4826 is a standard deviation of 1, of normal errors."""

LEAST_SHARE = 0.01
"""The least standard deviation, as a share of what is expected."""

_TOGETHER = 20_000
"""Points whose medians are computed at once."""

GAP = DAY
"""What is out of the ordinary again within a day is the same anomaly."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A deviation that is told: of the mean of `span`, by more than so many standard deviations."""

    kind: Kind
    span: timedelta
    threshold: float


RULES = (Rule("sudden", timedelta(hours=3), 10.0), Rule("lasting", DAY, 5.0))
"""The thresholds were set on taxi rides of the Numenta Anomaly Benchmark: `bench/anomalies.py`."""


@dataclass(frozen=True, slots=True)
class Series:
    """Values at regular times from `begin` on, float64; NaN where there is none."""

    begin: datetime
    step: timedelta
    values: NDArray[np.float64]

    def at(self, place: int) -> datetime:
        """The time of the value at a place."""
        return self.begin + place * self.step


@dataclass(frozen=True, slots=True)
class Anomaly:
    """From the first to the last time that was out of the ordinary.

    `score` is the largest deviation, in standard deviations and with its sign; `value` and
    `expected` are the means over the span of the rule at that time.
    """

    kind: Kind
    begin: datetime
    end: datetime
    score: float
    value: float
    expected: float


def midnight(day: date) -> datetime:
    """When a day begins, in UTC."""
    return datetime.combine(day, time(), UTC)


def regular(
    rows: Sequence[tuple[datetime, float | None]], step: timedelta, until: datetime
) -> Series:
    """Rows as a series of that step; of two at one time the last counts.

    What is not over at `until` is left out: a bucket that is still being filled looks like a fall.

    Raises:
        ValueError: a day is no multiple of the step, or a time lies between two steps.
    """
    import numpy as np

    if DAY % step:
        raise ValueError(f"a day is no multiple of {step}")
    whole = [(at, value) for at, value in rows if at + step <= until]
    if not whole:
        return Series(until, step, np.empty(0))
    begin = min(at for at, _ in whole)
    values = np.full((max(at for at, _ in whole) - begin) // step + 1, np.nan)
    for at, value in whole:
        place, off = divmod(at - begin, step)
        if off:
            raise ValueError(f"{at} is between two steps of {step}")
        values[place] = np.nan if value is None else value
    return Series(begin, step, values)


def find_anomalies(series: Series, matters: float, rules: Sequence[Rule] = RULES) -> list[Anomaly]:
    """The anomalies of a series, by the time they began.

    `matters` is the least deviation that is one, in the unit of the values, above 0: where nothing
    ever varied, any change would be extraordinary. A rule of a span that is shorter than two steps
    looks at single points. Means of days are judged once weeks are known: a first Sunday is not
    extraordinary.
    """
    found = [
        anomaly for rule in rules for anomaly in _anomalies(series, matters / rule.threshold, rule)
    ]
    return sorted(found, key=lambda anomaly: (anomaly.begin, anomaly.kind))


def change_points(series: Series) -> list[datetime]:
    """The days from which on the level is another one, by PELT over daily medians (Killick 2012).

    A segment costs its absolute deviations from its median, in units of the usual one from day to
    day, so that a single day is no level. A change pays for itself when it takes away more than
    `3 ln n` of them for n days.
    """
    import numpy as np
    import ruptures

    days = _daily_medians(series)
    values = days.to_numpy()
    if len(values) < 2 * LEAST_DAYS:
        return []
    usual = NORMAL * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2)
    scaled = values / (usual or float(np.std(values)) or 1.0)
    search = ruptures.Pelt("l1", min_size=LEAST_DAYS, jump=1).fit(scaled[:, None])
    ends = search.predict(pen=3 * math.log(len(values)))
    return [days.index[end].to_pydatetime() for end in ends[:-1]]


def _anomalies(series: Series, least: float, rule: Rule) -> Iterator[Anomaly]:
    import numpy as np

    points = max(1, rule.span // series.step)
    expected = _seasonal(series)
    if rule.span < DAY or points == 1:
        _begin_with_recent(expected, series.values, DAY // series.step, 7 * LEAST_WEEKS)
    known = np.isfinite(series.values) & np.isfinite(expected)
    value = _moving_mean(np.where(known, series.values, np.nan), points)
    usual = _moving_mean(np.where(known, expected, np.nan), points)
    spread = np.maximum(_deviation(value - usual, series.step), LEAST_SHARE * np.abs(usual))
    scores = (value - usual) / np.maximum(spread, least)
    beyond = np.flatnonzero(np.abs(scores) > rule.threshold)
    for first, last in _episodes(beyond.tolist(), GAP // series.step):
        peak = first + int(np.nanargmax(np.abs(scores[first : last + 1])))
        numbers = (float(each[peak]) for each in (scores, value, usual))
        yield Anomaly(rule.kind, series.at(first), series.at(last), *numbers)


def _seasonal(series: Series) -> NDArray[np.float64]:
    """What each point should be, by the weeks before it; NaN where they are too few."""
    a_week = 7 * (DAY // series.step)
    weeks = [a_week * week for week in range(1, WEEKS + 1)]
    return _median_before(series.values, weeks, LEAST_WEEKS)


def _deviation(off: NDArray[np.float64], step: timedelta) -> NDArray[np.float64]:
    """The usual deviation around the time of day of each point, by those before it."""
    import numpy as np

    a_day, size = DAY // step, np.abs(off)
    near = (-1, 0, 1) if a_day > 2 else (0,)
    places = [a_day * day + beside for day in range(1, DAYS + 1) for beside in near]
    usual = _median_before(size, places, LEAST_DAYS * len(near))
    _begin_with_recent(usual, size, a_day, LEAST_DAYS)
    return NORMAL * usual


def _begin_with_recent(
    medians: NDArray[np.float64], values: NDArray[np.float64], a_day: int, days: int
) -> None:
    """Of the first `days`, put the medians of the week before each point in place.

    Later a point without a median of its season has none: that of all hours would mislead.
    """
    young = slice(days * a_day)
    medians[young] = _recent_median(values[young], LEAST_DAYS * a_day)


def _median_before(
    values: NDArray[np.float64], lags: Sequence[int], least: int
) -> NDArray[np.float64]:
    """The median of the values that lie so many places before; NaN where fewer than `least` do."""
    import numpy as np

    medians = np.full(len(values), np.nan)
    for start in range(0, len(values), _TOGETHER):
        places = np.arange(start, min(start + _TOGETHER, len(values)))[:, None] - np.array(lags)
        before = np.where(places >= 0, values[places.clip(0)], np.nan)
        enough = np.isfinite(before).sum(axis=1) >= least
        medians[start : start + _TOGETHER][enough] = np.nanmedian(before[enough], axis=1)
    return medians


def _recent_median(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The median of the `window` values before each; NaN where there are too few."""
    import pandas as pd

    least = min(LEAST_POINTS, window)
    return pd.Series(values).shift(1).rolling(window, min_periods=least).median().to_numpy()


def _moving_mean(values: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """The mean of each value and those before it; NaN where fewer than half of them are known."""
    import pandas as pd

    return pd.Series(values).rolling(points, min_periods=(points + 1) // 2).mean().to_numpy()


def _daily_medians(series: Series) -> pd.Series[float]:
    """The median of each day that has a value."""
    import pandas as pd

    times = pd.date_range(series.begin, periods=len(series.values), freq=series.step)
    return pd.Series(series.values, times).resample("D").median().dropna()


def _episodes(places: Iterable[int], gap: int) -> list[tuple[int, int]]:
    """The first and the last of the places that lie at most `gap` apart."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and place - found[-1][1] <= gap:
            found[-1] = (found[-1][0], place)
        else:
            found.append((place, place))
    return found
