"""Offline feature values in DuckDB: append-only, in two times, only what changed.

Every refresh asks for a hash of all inputs first and does nothing when it is the one of the last
refresh. Otherwise the values of all entities are compared, in SQL, with their latest rows, and a
row is appended where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import dict_row

from ml_assets.delta import Delta
from ml_assets.features.definition import FeatureView
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement

ENTITY_HEADER = {
    "entity_id": "string",
    "first_time": "time",
    "changed_time": "time",
    "removed_time": "time",
    "input_hash": "string",
}
"""What is computed of every entity beside its features; the types as `arrow_table` takes them.

`first_time`: when its first version became true, if that is known; `removed_time`: null while it is
live; `input_hash`: of its own inputs.
"""


def refresh_view(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    view: FeatureView,
    inputs: str,
    compute: Callable[[], object],
    bound: Mapping[str, object] | None = None,
    known_time: datetime | None = None,
) -> Delta:
    """Append the rows of `view` that differ from the latest ones; nothing if no input changed.

    `inputs` is the statement that gives `entities`, their number, and `state_hash` and `state_time`
    of all inputs. `compute` fills the temporary table `computed`: for every entity `ENTITY_HEADER`
    and the features, null where it was removed. An entity with a latest row that is not in it is
    removed too.

    The event time of an appended row is `first_time`, else `changed_time`, for the first row of an
    entity; `changed_time` when its own inputs changed; `state_time` when only others' did; and that
    of the row before when no input changed, only the way to compute: a correction. It is never
    before the row it follows. `known_time` is now, or later than any known time so far.
    """
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        # One snapshot: an entity that changes in between must not mix with its earlier self.
        cursor.execute("set transaction isolation level repeatable read")
        (state,) = cursor.execute(statement(inputs), bound).fetchall()
        last = duck.execute("select state_hash from feature_states where view = ?", [view.key])
        if last.fetchall() == [(state["state_hash"],)]:
            return Delta(unchanged=state["entities"])
        compute()
    # A clock that went back must not let an old value pass for the latest.
    text = statement("duckdb/features/next_known_time").format(table=view.table)
    ((known,),) = duck.execute(text, [known_time or datetime.now(UTC)]).fetchall()
    values = {"view": view.key, "known_time": known, **state}
    names = {
        "table": view.table,
        "columns": ", ".join(view.columns),
        "typed_columns": ", ".join(f"{f.name}::{f.dtype} as {f.name}" for f in view.features),
    }
    with duckdb.transaction(duck):
        for step in "stage_changes", "append_changes", "forget_inputs", "save_inputs", "save_state":
            text = statement(f"duckdb/features/{step}").format(**names)
            duck.execute(text, {name: v for name, v in values.items() if f"${name}" in text})
        counts = duck.execute("select action, count(*) from changes group by action").fetchall()
    return Delta(**{action: count for action, count in counts if action is not None})


def current_rows(view: FeatureView) -> str:
    """The query of the live entities' latest rows of `view`: `entity_id`, times, features."""
    return statement("duckdb/features/current").format(table=view.table)


def query_current(
    duck: duckdb.Connection,
    view: FeatureView,
    name: str,
    values: Mapping[str, object] | None = None,
) -> duckdb.Connection:
    """Run a statement of `duckdb/features` over the current rows of `view`."""
    names = {"current": current_rows(view), "columns": ", ".join(view.columns)}
    return duck.execute(statement(f"duckdb/features/{name}").format(**names), values)


def read_current(
    duck: duckdb.Connection,
    view: FeatureView,
    name: str,
    values: Mapping[str, object] | None = None,
) -> list[dict[str, Any]]:
    """The rows of `query_current`, by the names of their columns."""
    cursor = query_current(duck, view, name, values)
    columns = [column[0] for column in cursor.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def first_times(duck: duckdb.Connection, view: FeatureView) -> dict[str, datetime]:
    """When the first values of each entity were true."""
    query = f"select entity_id, min(event_time) from {view.table} group by entity_id"  # noqa: S608
    return dict(duck.execute(query).fetchall())


def values_version(duck: duckdb.Connection, view: FeatureView) -> str:
    """One hash over the current values of all entities."""
    ((version,),) = query_current(duck, view, "version").fetchall()
    return str(version)


def statistics(duck: duckdb.Connection, view: FeatureView) -> list[dict[str, Any]]:
    """Count, nulls, minimum, mean, median and maximum of each feature's current values."""
    return read_current(duck, view, "statistics", {"features": list(view.columns)})
