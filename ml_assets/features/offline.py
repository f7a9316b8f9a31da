"""Offline feature values in DuckDB: append-only, in two times, only what changed.

Every refresh asks for a hash of all inputs first and does nothing when it is the one of the last
refresh. Otherwise the values of all entities are compared, in SQL, with their latest rows, and a
row is appended where they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import dict_row

from ml_assets.delta import Delta
from ml_assets.errors import FeatureViewError
from ml_assets.features.definition import FeatureView
from ml_assets.features.sources.corpus import NOT_KNOWN_YET, Corpus, State, told
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


_LAST_STEPS = ("forget_left_out", "save_left_out", "save_state")
_STEPS = ("stage_changes", "append_changes", "forget_inputs", "save_inputs", *_LAST_STEPS)
_HISTORY_STEPS = ("stage_history", "append_changes", *_LAST_STEPS)


def refresh_view(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    view: FeatureView,
    read_state: Callable[[], State],
    compute: Callable[[State], object],
    known_time: datetime | None = None,
) -> Delta:
    """Append the rows of `view` that differ from the latest ones; nothing if no input changed.

    `read_state` tells of all inputs. `compute` fills the temporary table `computed`: for every
    entity `ENTITY_HEADER` and the features, null where it was removed. An entity with a latest row
    that is not in it is removed too. Of a view with history, `compute` fills `staged`.

    The event time of an appended row is `first_time`, else `changed_time`, for the first row of an
    entity; `changed_time` when its own inputs changed; `state_time` when only others' did; and that
    of the row before when no input changed, only the way to compute: a correction. It is never
    before the row it follows. `known_time` is now, or later than any known time so far.
    """
    with connection.transaction():
        # One snapshot: an entity that changes in between must not mix with its earlier self.
        connection.execute("set transaction isolation level repeatable read")
        state = read_state()
        last = duck.execute("select state_hash from feature_states where view = ?", [view.key])
        is_same = last.fetchall() == [(state.state_hash,)]
        # A row that was not known yet then may be by now.
        if is_same and NOT_KNOWN_YET not in rows_left_out(duck, view):
            return Delta(unchanged=state.entities or _count_rows(duck, view))
        create_table(duck, view)
        duck.execute("create or replace temp table left_out (reason varchar, rows bigint)")
        compute(state)
    # A clock that went back must not let an old value pass for the latest.
    text = statement("duckdb/features/next_known_time").format(table=view.table)
    ((known,),) = duck.execute(text, [known_time or datetime.now(UTC)]).fetchall()
    values = {"view": view.key, "known_time": known, **asdict(state)}
    names = {
        "table": view.table,
        "columns": ", ".join(view.columns),
        "typed_columns": ", ".join(f"{f.name}::{f.dtype} as {f.name}" for f in view.features),
    }
    with duckdb.transaction(duck):
        for step in _HISTORY_STEPS if view.has_history else _STEPS:
            text = statement(f"duckdb/features/{step}").format(**names)
            duck.execute(text, {name: v for name, v in values.items() if f"${name}" in text})
        counts = duck.execute("select action, count(*) from changes group by action").fetchall()
    return Delta(**{action: count for action, count in counts if action is not None})


def refresh_source(corpus: Corpus, view: FeatureView, known_time: datetime | None = None) -> Delta:
    """Append the rows of a view that has a source, where they differ from the latest ones.

    Raises:
        FeatureViewError: its query, function or table does not give what the view names.
        SourceError: its table cannot be read.
    """
    source = view.source
    if source is None:
        raise ValueError(f"{view.name} has no source: its module computes it")

    def compute(state: State) -> None:
        source.stage(corpus, view)
        if not view.has_history:
            _stage_entities(corpus, view, state)

    return refresh_view(
        corpus.connection,
        corpus.duck,
        view,
        lambda: source.state(corpus),
        compute,
        known_time,
    )


def read_state(
    connection: postgres.Connection, inputs: str, bound: Mapping[str, object] | None = None
) -> State:
    """What the statement `inputs` gives: `entities`, and `state_hash`, `state_time` of all."""
    with connection.cursor(row_factory=dict_row) as cursor:
        (row,) = cursor.execute(statement(inputs), bound).fetchall()
    return State(**row)


def create_table(duck: duckdb.Connection, view: FeatureView) -> None:
    """Create the offline table of a view, if it is not there."""
    times = "event_time timestamptz not null, known_time timestamptz not null"
    features = ", ".join(f"{f.name} {f.dtype}" for f in view.features)
    columns = f"entity_id varchar not null, {times}, removed boolean not null"
    text = f"create table if not exists {view.table} ({columns}, value_hash varchar not null, "
    with told(view, "a name of it"):
        duck.execute(f"{text}{features})")


def require_table(duck: duckdb.Connection, view: FeatureView) -> None:
    """Refuse to read a view that was never computed here.

    Raises:
        FeatureViewError: it has no offline table.
    """
    query = "from duckdb_tables() where table_name = ?"
    if view.source and not duck.execute(query, [view.table]).fetchall():
        raise FeatureViewError(
            f"version {view.version} has no values yet",
            where=f"feature view {view.name}",
            do="Run `ml-assets run`",
        )


def drop_table(duck: duckdb.Connection, key: str) -> None:
    """Drop the offline table of a view, by name and version."""
    with duckdb.transaction(duck):
        duck.execute(f"drop table features_{key}")
        for each in ("feature_inputs", "feature_states", "feature_rows_left_out"):
            duck.execute(f"delete from {each} where view = ?", [key])  # noqa: S608


def stored_views(duck: duckdb.Connection) -> dict[str, int]:
    """The views that have an offline table, by name and version, and the number of their rows."""
    found = duck.execute(statement("duckdb/features/stored_tables")).fetchall()
    names = [name for (name,) in found]
    counts = [duck.execute(f"select count(*) from {name}").fetchall()[0][0] for name in names]  # noqa: S608
    return {name.removeprefix("features_"): rows for name, rows in zip(names, counts, strict=True)}


def rows_left_out(duck: duckdb.Connection, view: FeatureView) -> dict[str, int]:
    """How many rows of the source the last refresh left out, by reason, the most frequent first."""
    return dict(duck.execute(statement("duckdb/features/left_out"), [view.key]).fetchall())


def rows_came(duck: duckdb.Connection, views: Iterable[FeatureView], since: datetime) -> bool:
    """Whether a row counts that did not yet then: its event has come, or its known time may have.

    Of views that were computed; an event that is read after it was true counts at once.
    """
    stored = stored_views(duck)
    for view in views:
        if view.has_history and view.key in stored:
            text = statement("duckdb/features/events_came").format(table=view.table)
            ((came,),) = duck.execute(text, {"since": since}).fetchall()
            if came or NOT_KNOWN_YET in rows_left_out(duck, view):
                return True
    return False


def _stage_entities(corpus: Corpus, view: FeatureView, state: State) -> None:
    """From `staged` to `computed`: when each entity began, changed and left."""
    duck, columns = corpus.duck, ", ".join(view.columns)
    if view.entity == "document":
        rows = corpus.connection.execute(statement("postgres/features/documents"))
        entities = duckdb.arrow_table(rows, ENTITY_HEADER | {"text_hash": "string"})
        with duckdb.registered(duck, entities=entities):
            text = statement("duckdb/features/documents_staged")
            duck.execute(text.format(columns=columns))
    else:
        text = statement("duckdb/features/entities_staged").format(columns=columns)
        duck.execute(text, {"state_time": state.state_time})


def _count_rows(duck: duckdb.Connection, view: FeatureView) -> int:
    """The events of a view with history that were not taken back."""
    text = statement("duckdb/features/count_events").format(table=view.table)
    ((rows,),) = duck.execute(text).fetchall()
    return int(rows)


def current_rows(view: FeatureView) -> str:
    """The query of the live entities' latest rows of `view`: `entity_id`, times, features."""
    name = "current_of_history" if view.has_history else "current"
    return statement(f"duckdb/features/{name}").format(table=view.table)


def query_current(
    duck: duckdb.Connection,
    view: FeatureView,
    name: str,
    values: Mapping[str, object] | None = None,
) -> duckdb.Connection:
    """Run a statement of `duckdb/features` over the current rows of `view`.

    Raises:
        FeatureViewError: it was never computed.
    """
    require_table(duck, view)
    names = {
        "current": current_rows(view),
        "columns": ", ".join(view.columns),
        "numbers": ", ".join(f.name if f.is_number else "null" for f in view.features),
        "present": ", ".join(f"{f.name} is not null" for f in view.features),
    }
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
