"""Offline feature values in DuckDB: append-only, in two times, only what changed.

Every refresh asks for a hash of all inputs first and does nothing when it is the one of the last
refresh. Otherwise the values of all entities are compared, in SQL, with their latest rows, and a
row is appended where they differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ml_assets.documents.model import Delta
from ml_assets.features.views import FeatureView
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import pyarrow as pa


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
        (row,) = postgres.run(connection, statement(name), values).fetchall()
        return cls(*row)


def is_current(duck: duckdb.Connection, view: FeatureView, state: InputState) -> bool:
    """Whether the last refresh of `view` saw exactly this state."""
    row = duck.execute(
        "select state_hash from feature_states where view = ?", [view.key]
    ).fetchone()
    return row is not None and row[0] == state.hash


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
    row = duck.execute(text).fetchone()
    return str(row[0]) if row else ""


def statistics(duck: duckdb.Connection, view: FeatureView) -> list[dict[str, object]]:
    """Count, nulls, minimum, mean, median and maximum of each feature's current values."""
    text = statement("duckdb/features/statistics").format(
        current=current_rows(view), columns=", ".join(view.columns)
    )
    cursor = duck.execute(text, {"features": list(view.columns)})
    names = [column[0] for column in cursor.description or ()]
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}
    return [rows[column] for column in view.columns if column in rows]


@contextmanager
def registered(duck: duckdb.Connection, **tables: pa.Table) -> Iterator[None]:
    """Let SQL see Arrow tables under their names, for the length of the block."""
    try:
        for name, table in tables.items():
            duck.register(name, table)
        yield
    finally:
        for name in tables:
            duck.unregister(name)


def arrow_table(rows: Iterable[Sequence[object]], header: Mapping[str, str]) -> pa.Table:
    """Turn rows into an Arrow table; types are "string", "time" (UTC), "bigint", "double".

    A float that is nan becomes null.
    """
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "time": pa.timestamp("us", tz="UTC"),
        "bigint": pa.int64(),
        "double": pa.float64(),
    }
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return pa.table(
        {
            name: pa.array(column, types[kind], from_pandas=True)
            for (name, kind), column in zip(header.items(), columns, strict=True)
        }
    )


def _next_known_time(
    duck: duckdb.Connection, view: FeatureView, wanted: datetime | None
) -> datetime:
    now = wanted or datetime.now(UTC)
    row = duck.execute(f"select max(known_time) from {view.table}").fetchone()  # noqa: S608
    last = row[0] if row else None
    # A clock that went back must not let an old value pass for the latest.
    return max(now, last + timedelta(microseconds=1)) if last else now
