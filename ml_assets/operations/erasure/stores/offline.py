"""DuckDB: offline features, training sets, what models achieved on them, statistics of days."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from ml_assets.features.drift.statistics import Window, write_statistics
from ml_assets.features.views import VIEWS
from ml_assets.operations.erasure.subject import Place, Removed, Subject
from ml_assets.operations.erasure.wording import ERASED
from ml_assets.stores import duckdb
from ml_assets.stores.sql import statement

_FEATURES = "features_"
_SHARED = "feature_inputs"
"""The table with a row for each entity of any view."""


def erase(place: Place, subject: Subject) -> list[Removed]:
    """Remove rows and labels, compute the statistics of their days anew, then write the file anew.

    Raises:
        StoreError: another process holds the file for too long, or it cannot be written.
    """
    file = place.settings.duckdb_file
    if not file.exists():
        return []
    with duckdb.connect(file) as duck:
        days = _days(duck, subject)
        with duckdb.transaction(duck):
            rows, labels = _erase_rows(duck, subject), _erase_labels(duck, subject)
            for window in _windows(days):  # of days whose rows are gone, nobody would know
                write_statistics(place.connection, duck, window)
    place.notify("writing the DuckDB file anew")
    duckdb.rewrite(file)
    how = "the file was written anew from the rows that are left"
    return [
        Removed("DuckDB", "rows", rows, how),
        Removed("DuckDB", "values of a label", labels, how),
        Removed("DuckDB", "statistics of days", len(days), f"computed without them; {how}"),
    ]


def _days(duck: duckdb.Connection, subject: Subject) -> list[date]:
    query, bound = statement("duckdb/operations/days_of_documents"), {"ids": [*subject.documents]}
    found = {
        day
        for table, column in _columns(duck)
        if column == "entity_id" and table.startswith(_FEATURES)
        for (day,) in duck.execute(query.format(table=table), bound).fetchall()
    }
    return sorted(found)


def _windows(days: Sequence[date]) -> list[Window]:
    """Days in order as windows of those that follow one another."""
    windows: list[Window] = []
    for day in days:
        if windows and windows[-1].last + timedelta(days=1) == day:
            windows[-1] = Window(windows[-1].first, day)
        else:
            windows.append(Window(day, day))
    return windows


def _erase_rows(duck: duckdb.Connection, subject: Subject) -> int:
    bound = {"ids": [*subject.documents]}
    removed = 0
    for table, column in _columns(duck):
        query = f"delete from {table} where {column} in (select unnest($ids))"  # noqa: S608
        if table == _SHARED:
            query += " and view not in (select unnest($others))"
            removed += _changed(duck, query, {**bound, "others": _others()})
        else:
            removed += _changed(duck, query, bound)
    # A group of near duplicates has the name of one of them.
    rename = statement("duckdb/operations/rename_groups")
    return removed + _changed(duck, rename, {**bound, "named": [ERASED]})


def _erase_labels(duck: duckdb.Connection, subject: Subject) -> int:
    if not subject.labels:
        return 0
    bound = {"labels": [*subject.labels]}
    removed = 0
    columns = duck.execute(statement("duckdb/operations/columns_of_labels")).fetchall()
    for table, column in columns:
        query = f"delete from {table} where {column} in (select unnest($labels))"  # noqa: S608
        removed += _changed(duck, query, bound)
    for name in ("forget_label_counts", "forget_drift_of_labels", "forget_statistics_of_labels"):
        removed += _changed(duck, statement(f"duckdb/operations/{name}"), bound)
    return removed


def _changed(duck: duckdb.Connection, query: str, bound: dict[str, list[str]]) -> int:
    ((rows,),) = duck.execute(query, bound).fetchall()
    return int(rows)


def _columns(duck: duckdb.Connection) -> Iterator[tuple[str, str]]:
    """The tables and columns in which an id is that of a document."""
    others = {f"{_FEATURES}{key}" for key in _others()}
    for table, column in duck.execute(
        statement("duckdb/operations/columns_of_documents")
    ).fetchall():
        # Of a view that the code has no more, nobody knows what its ids are of.
        if table not in others:
            yield table, column


def _others() -> list[str]:
    """The keys of the views of other entities, whose ids may be as that of a document."""
    return [view.key for view in VIEWS.values() if view.entity != "document"]
