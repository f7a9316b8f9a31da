"""Offline feature values in DuckDB: append-only, in two times, only what changed.

Every refresh asks for a hash of all inputs first and does nothing when it is the one of the last
refresh. Otherwise the values of all entities are compared, in SQL, with their latest rows, and a
row is appended where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ml_assets.delta import Delta
from ml_assets.features.views import FeatureView
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement


@dataclass(frozen=True, slots=True)
class InputState:
    """All inputs of a view: how many entities, a hash over them, and when they last changed."""

    entities: int
    hash: str
    changed_time: datetime

    @classmethod
    def read(
        cls, connection: postgres.Connection, name: str, values: Mapping[str, object] | None = None
    ) -> InputState:
        """Ask PostgreSQL, by the statement `name`, which gives the three fields in one line."""
        (row,) = connection.execute(statement(name), values).fetchall()
        return cls(*row)


def is_current(duck: duckdb.Connection, view: FeatureView, state: InputState) -> bool:
    """Whether the last refresh of `view` saw exactly this state."""
    last = duck.execute("select state_hash from feature_states where view = ?", [view.key])
    return last.fetchall() == [(state.hash,)]


def append_changes(
    duck: duckdb.Connection,
    view: FeatureView,
    computed: str,
    state: InputState,
    known_time: datetime | None = None,
) -> Delta:
    """Append the rows of the relation `computed` that differ from the latest ones.

    `computed` has the features of every entity (null where it was removed) and `entity_id`,
    `first_time` (when its first version became true, if that is known), `changed_time`,
    `removed_time` (null: it is live) and `input_hash` (of its own inputs). An entity with a latest
    row that is not in `computed` is removed too.

    The event time of an appended row is `first_time`, else `changed_time`, for the first row of an
    entity; `changed_time` when its own inputs changed; `state.changed_time` when only others'
    did; and that of the row before when no input changed, only the way to compute: a correction. It
    is never before the row it follows. `known_time` is now, or later than any known time so far.
    """
    values = {
        "view": view.key,
        "known_time": _next_known_time(duck, view, known_time),
        "state_hash": state.hash,
        "state_time": state.changed_time,
    }
    names = {
        "table": view.table,
        "computed": computed,
        "columns": ", ".join(view.columns),
        "typed_columns": ", ".join(f"{f.name}::{f.dtype} as {f.name}" for f in view.features),
    }
    with duckdb.transaction(duck):
        for step in (
            "stage_changes",
            "append_changes",
            "forget_inputs",
            "save_inputs",
            "save_state",
        ):
            text = statement(f"duckdb/features/{step}").format(**names)
            duck.execute(text, {name: v for name, v in values.items() if f"${name}" in text})
        counts = duck.execute("select action, count(*) from changes group by action").fetchall()
    return Delta(**{action: count for action, count in counts if action is not None})


def current_rows(view: FeatureView) -> str:
    """The query of the live entities' latest rows of `view`: `entity_id`, times, features."""
    return statement("duckdb/features/current").format(table=view.table)


def values_version(duck: duckdb.Connection, view: FeatureView) -> str:
    """One hash over the current values of all entities."""
    text = statement("duckdb/features/version").format(current=current_rows(view))
    ((version,),) = duck.execute(text).fetchall()
    return str(version)


def statistics(duck: duckdb.Connection, view: FeatureView) -> list[dict[str, object]]:
    """Count, nulls, minimum, mean, median and maximum of each feature's current values."""
    text = statement("duckdb/features/statistics").format(
        current=current_rows(view), columns=", ".join(view.columns)
    )
    cursor = duck.execute(text, {"features": list(view.columns)})
    names = [column[0] for column in cursor.description or ()]
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}
    return [rows[column] for column in view.columns if column in rows]


def _next_known_time(
    duck: duckdb.Connection, view: FeatureView, wanted: datetime | None
) -> datetime:
    now = wanted or datetime.now(UTC)
    newest = duck.table(view.table).max("known_time").fetchall()
    last: datetime | None = newest[0][0]
    # A clock that went back must not let an old value pass for the latest.
    return max(now, last + timedelta(microseconds=1)) if last else now
