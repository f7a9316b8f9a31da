"""Between what a store is given or asked and what is in its tables."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ml_assets.errors import StoreError
from ml_assets.stores.metrics.contract import (
    EPOCH,
    GRAINS,
    LARGEST,
    Buckets,
    Grain,
    Labels,
    Points,
    Query,
    Retention,
    Series,
    micros,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""ClickHouse's buckets end in 2106; what came later was counted as written, and dropped."""


def source(query: Query, step: timedelta, exact: bool) -> Grain | None:
    """From which rollup buckets of `step` are made; None: from the points.

    Raises:
        ValueError: the window or the step is not of whole steps since 1970, or of seconds.
    """
    if step < timedelta(seconds=1) or step % timedelta(seconds=1):
        raise ValueError(f"{step} is not a number of seconds")
    for end in (query.window.begin, query.window.end):
        if (end - EPOCH) % step:
            raise ValueError(f"{end} is not between two steps of {step}")
    if exact:
        return None
    return next((grain for grain, span in reversed(GRAINS.items()) if not step % span), None)


def groups(query: Query, known: Mapping[int, Series]) -> dict[Labels, list[int]]:
    """The ids of the series that are asked for, by the labels of their group, in their order."""
    found: dict[Labels, list[int]] = defaultdict(list)
    for number, each in known.items():
        labels = dict(each.labels)
        if query.labels.items() <= labels.items():
            by = (
                each.labels if query.by is None else tuple((k, labels.get(k, "")) for k in query.by)
            )
            found[by].append(number)
    return dict(sorted(found.items()))


def spans(first: int, last: int, span: timedelta) -> tuple[int, int]:
    """The whole spans that two times in microseconds lie in: begin and end, in seconds."""
    seconds = span // timedelta(seconds=1)
    begin, end = (at // 1_000_000 // seconds * seconds for at in (first, last))
    return begin, end + seconds


def row_bytes(name: str, labels: Mapping[str, str]) -> int:
    """Bytes of a row as it is given: name, labels as JSON, a time and a value."""
    return 16 + len(name.encode()) + len(json.dumps(dict(labels), separators=(",", ":")))


def refuse_dropped(given: Sequence[Points], first: date, retention: Retention) -> None:
    """Stop points that would be dropped, or were, so that rollups have them already.

    Raises:
        StoreError: a time is before the first day of which there are all points.
    """
    import numpy as np

    for each in given:
        if each.times[0] < np.datetime64(first, "us"):
            do = "Leave it out"
            if first <= retention.since(datetime.now(UTC)):
                do += ", or set ML_ASSETS_METRICS_DAYS to more days"
            raise StoreError(
                f"a point of {each.times[0]} is before {first}, the first day that is kept",
                where=f"the metric {each.series.name}",
                do=do,
            )


def batches(batch: Iterable[Points]) -> list[Points]:
    """The points of a write: one of each series, by time, each time once.

    Raises:
        ValueError: a value is beyond `LARGEST`, or a time before 1970 or after 2099.
    """
    import numpy as np

    given: dict[Series, list[Points]] = defaultdict(list)
    for each in batch:
        _check(each)
        given[each.series].append(each)
    merged = []
    for one, parts in given.items():
        times = np.concatenate([part.times.astype("datetime64[us]") for part in parts])
        values = np.concatenate([part.values.astype(np.float64) for part in parts])
        if len(times) > 1 and not (times[1:] > times[:-1]).all():
            order = np.argsort(times, kind="stable")
            times, values = times[order], values[order]
            last = np.append(times[1:] != times[:-1], True)
            times, values = times[last], values[last]
        if len(times):
            merged.append(Points(one, times, values))
    return merged


def _check(each: Points) -> None:
    import numpy as np

    if each.times.shape != each.values.shape or each.times.ndim != 1:
        raise ValueError(f"{each.series.name}: as many times as values are needed")
    if not (np.abs(each.values) <= LARGEST).all():  # so it is not of what is no number, either
        raise ValueError(f"{each.series.name}: a value is no number, or beyond {LARGEST:g}")
    first, last = (np.datetime64(micros(end), "us") for end in (_FIRST, _LAST))
    if not ((each.times >= first) & (each.times < last)).all():
        raise ValueError(f"{each.series.name}: a time is not between 1970 and 2099")


def split(
    found: Sequence[Labels], columns: Mapping[str, NDArray[Any]], quantiles: Sequence[float]
) -> list[Buckets]:
    """The rows of an aggregate by the place of their group among `found`, by which they are sorted.

    `columns` has place, at (seconds since 1970), counts, mean, lowest, highest, spread, and
    quantiles of shape (rows, quantiles).
    """
    import numpy as np

    given = []
    for place, labels in enumerate(found):
        of = slice(*np.searchsorted(columns["place"], [place, place + 1]))
        if of.start == of.stop:
            continue
        levels = columns["quantiles"][of]
        given.append(
            Buckets(
                labels,
                columns["at"][of].astype("datetime64[s]").astype("datetime64[us]"),
                columns["counts"][of].astype(np.int64),
                columns["mean"][of],
                columns["lowest"][of],
                columns["highest"][of],
                columns["spread"][of],
                {level: levels[:, number] for number, level in enumerate(quantiles)},
            )
        )
    return given


def by_series(known: Mapping[int, Series], columns: Sequence[NDArray[Any]]) -> list[Points]:
    """Rows of series, time (microseconds since 1970) and value, sorted by series, as points."""
    import numpy as np

    ids, times, values = columns
    return [
        Points(known[number], times[part].view("datetime64[us]"), values[part])
        for number in sorted(known)
        if (part := slice(*np.searchsorted(ids, [number, number + 1]))).start < part.stop
    ]
