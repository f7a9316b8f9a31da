"""What came until a day, compared with the days before: what changed suddenly, and what slowly."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from ml_assets.features.drift.comparison import MIN_ROWS, Comparison, Sample, compare
from ml_assets.features.drift.results import DayComparison, Reference
from ml_assets.features.drift.statistics import (
    Window,
    documents_that_came,
    group_sizes,
    read_statistics,
    refresh_statistics,
    some_vectors,
)
from ml_assets.stores import duckdb, postgres

if TYPE_CHECKING:
    from pandas import DataFrame

WIDTHS = (1, 7, 28)
"""Days of a window that is looked at: the first that holds enough."""

ROLLING: dict[Reference, int] = {"7 days": 7, "28 days": 28}
"""The references that move along, in days before that window."""

SPAN = WIDTHS[-1] + ROLLING["28 days"]
"""Days of which a comparison needs the statistics."""


def current_window(came: DataFrame, day: date) -> Window:
    """The window that ends with `day`: of 1, 7 or 28 days, the shortest with `MIN_ROWS` documents.

    The longest, where none has so many.
    """
    days = came["event_time"].dt.date
    for width in WIDTHS:
        window = Window(day - timedelta(days=width - 1), day)
        if ((days >= window.first) & (days <= window.last)).sum() >= MIN_ROWS:
            return window
    return window


def within(came: DataFrame, window: Window) -> DataFrame:
    """Those of the documents that came in a window."""
    days = came["event_time"].dt.date
    rows: DataFrame = came[(days >= window.first) & (days <= window.last)]
    return rows


def refresh_days(
    connection: postgres.Connection, duck: duckdb.Connection, first: date, last: date
) -> None:
    """Bring the statistics up to date that comparisons of the days from `first` to `last` need."""
    refresh_statistics(connection, duck, Window(_span(first).first, last))


def _span(day: date) -> Window:
    return Window(day - timedelta(days=SPAN - 1), day)


def compare_with_days_before(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    day: date,
    space_id: str,
    seed: int = 0,
) -> list[DayComparison]:
    """Compare what came until `day` with the days before, by statistics that `refresh_days` wrote.

    Vectors are those of `space_id`, of the documents as they are now.
    """
    came = documents_that_came(duck, _span(day))
    window = current_window(came, day)
    current = _sample(connection, duck, within(came, window), window, space_id, seed)
    compared = []
    for name, days in ROLLING.items():
        earlier = window.before(days)
        rows = within(came, earlier)
        if len(rows) and len(within(came, window)):
            reference = _sample(connection, duck, rows, earlier, space_id, seed)
            comparison = compare(reference, current, seed)
        else:
            which = "came before" if current.rows else "came"
            comparison = Comparison(
                "nothing to compare", f"no document {which}", len(rows), current.rows
            )
        compared.append(DayComparison(day, name, window.first, comparison))
    return compared


def _sample(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    rows: DataFrame,
    window: Window,
    space_id: str,
    seed: int,
) -> Sample:
    sample = Sample(len(rows), read_statistics(duck, window))
    if len(rows) < MIN_ROWS:
        return sample
    vectors = some_vectors(connection, space_id, rows["document_id"].tolist(), seed)
    return replace(sample, vectors=vectors, groups=group_sizes(rows["value_hash"].tolist()))
