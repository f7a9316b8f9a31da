"""The point-in-time join: what was known, at a cutoff, about each entity at its label time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ml_assets.errors import FeatureViewError, NothingToDoError
from ml_assets.features.definition import FeatureView, unknown_entity
from ml_assets.features.offline import require_table
from ml_assets.stores import duckdb
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray


_EVER = 2**62
"""Microseconds: longer than from any time to any other."""

_PART = 25_000
"""Rows of a spine that a thread of DuckDB takes at once."""

_SHOWN = "%Y-%m-%d %H:%M:%S UTC"

FEW = 16
"""Rows of one entity in a spine, at most, with which its rows in the table are compared each."""


def point_in_time_join(
    duck: duckdb.Connection, spine: pd.DataFrame, views: Sequence[FeatureView]
) -> pd.DataFrame:
    """Add the features of `views` to every row of `spine`, as of its two times.

    A spine has `document_id`, `collection`, or the key of an entity (as the views ask),
    `event_time` (the label time) and, if wanted, `known_time` (the cutoff; absent or null: all that
    is known by now). Naive times are UTC. Among the rows of an entity with event_time <= the label
    time and known_time <= the cutoff, the one with the latest event time counts, and of these the
    one known last. If the spine has `document_time`, when the document of a row came to be, views
    of other entities are joined as of then, if that is earlier, and where their source tells when a
    row was known, only what was known by then counts. Of a view over the documents of an entity,
    whose rows hold the document itself, only rows before that time count.

    Returns `spine`, same rows, order and index, plus `{view}__{feature}` for every feature and
    `{view}__event_time`. They are null where nothing was known, where the entity was removed, and
    where the value is older than the view's ttl.

    Raises:
        FeatureViewError: the spine lacks a column, or a view was never computed.
    """
    result = spine.copy()
    for view in views:
        for name, values in _join_view(duck, spine, view).items():
            result[name] = values
    return result


def values_as_of(
    duck: duckdb.Connection,
    view: FeatureView,
    entity: str,
    event_time: str | None,
    known_time: str | None = None,
) -> dict[str, Any]:
    """The values of one entity as of a time, and as they were known at another; None: now.

    Raises:
        FeatureViewError: a time cannot be read.
        NothingToDoError: nothing was known of the entity then.
    """
    import pandas as pd

    times = {
        "event_time": _moment(event_time, "--as-of"),
        "known_time": _moment(known_time, "--known"),
    }
    spine = pd.DataFrame({view.entity_column: [entity], **times})
    (row,) = point_in_time_join(duck, spine, [view]).to_dict("records")
    moment = row[f"{view.name}__event_time"]
    if pd.isna(moment):
        raise _nothing_known(duck, view, entity, spine)
    found = {c: row[q] for c, q in zip(view.columns, view.qualified, strict=True)}
    plain = {name: None if pd.isna(value) else value for name, value in found.items()}
    return {"event_time": moment.to_pydatetime(), **plain}


def _moment(text: str | None, option: str) -> pd.Series[Any]:
    """A time as a column of a spine; None: now."""
    import pandas as pd

    try:
        moment = pd.to_datetime(pd.Series([datetime.now(UTC) if text is None else text]), utc=True)
        is_time = bool(moment.notna().all())  # of an empty text, or "none", pandas makes a gap
    except ValueError:
        is_time = False
    if not is_time:
        do = "Write it as in 2026-01-31 or 2026-01-31T12:00+01:00"
        raise FeatureViewError(f"{text!r} is no time", where=option, do=do)
    return moment


def _nothing_known(
    duck: duckdb.Connection, view: FeatureView, entity: str, spine: pd.DataFrame
) -> NothingToDoError:
    """Why there are no values of an entity at the times of a spine of one row."""
    import pandas as pd

    if view.ttl is not None:
        joined = point_in_time_join(duck, spine, [replace(view, ttl=None)])
        (last,) = joined[f"{view.name}__event_time"]
        if not pd.isna(last):
            what = f"the values of {view.name} of {entity!r} held till {last + view.ttl:{_SHOWN}}"
            return NothingToDoError(what, do="Give an earlier time")
    text = _sql("first_known").format(table=view.table)
    ((first, known),) = duck.execute(text, [entity]).fetchall()
    if first is None:
        return unknown_entity(view, entity)
    return NothingToDoError(
        f"{view.name} knew nothing of {entity!r} then: its first values are of {first:{_SHOWN}},"
        f" and known since {known:{_SHOWN}}",
        do="Give a later time",
    )


def _as_of(view: FeatureView) -> dict[str, str]:
    """In SQL, of a row of a spine: the time, the last of its events, and what was known by when."""
    of_document = view.entity == "document"
    return {
        "moment": "event_time" if of_document else "least(event_time, document_time)",
        # Less than any event of the moment, or what was known of it by the cutoff.
        "last": "-9223372036854775809" if view.is_strict else "cutoff",
        "from": ">" if view.is_strict else ">=",
        "known_by": "least(cutoff, document_time)" if view.tells_when_known else "cutoff",
    }


def _join_view(duck: duckdb.Connection, spine: pd.DataFrame, view: FeatureView) -> dict[str, Any]:
    """The columns that a view adds to a spine."""
    require_table(duck, view)
    keys = _keys(spine, view)
    few = _most_of_one(keys) <= FEW
    columns = ", ".join(
        f"feature.{column} as {name}"
        for column, name in zip(view.columns, view.qualified, strict=True)
    )
    cutoffs = ("cutoff", "document_time") if view.tells_when_known else ("cutoff",)
    has_cutoffs = any(keys[name].null_count < len(keys) for name in cutoffs)
    names = {
        "table": view.table,
        "columns": columns,
        "event_time": f"{view.name}__event_time",
        "version": "if(removed, -1 - rowid, rowid)" if view.has_history else "rowid",
        # What holds anyway is not asked of each pair of rows.
        "is_young": "true" if view.ttl is None else "since <= event",
        "is_known": "cutoff >= known" if has_cutoffs else "true",
        **_as_of(view),
    }
    nearest = _sql("nearest_to_few" if few else "nearest_to_many").format(**names)
    may_be_late = view.has_history or (has_cutoffs and not few)
    chosen = _sql("earlier_of_late").format(**names) if may_be_late else "from nearest"
    text = _sql("point_in_time_join").format(nearest=nearest, chosen=chosen, **names)
    reach = _EVER if view.ttl is None else min(view.ttl // timedelta(microseconds=1), _EVER)
    with duckdb.registered(duck, spine=keys):
        # As Arrow: of the frame that DuckDB makes itself, each column is copied once more.
        found = duck.sql(text, params={"reach": reach}).to_arrow_table()
    # DuckDB would sort all columns, and join those without values once more.
    rows = found["spine_row"].to_numpy()
    columns_found = zip(found.column_names, found.columns, strict=True)
    return {name: _placed(c, rows, len(spine)) for name, c in columns_found if name != "spine_row"}


def _placed(values: pa.ChunkedArray[Any], rows: NDArray[np.int64], count: int) -> Any:
    """Values in their rows of `count`, null in the others; numbers are numpy's, nan where null."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    kind = pa.types
    if kind.is_integer(values.type) or kind.is_floating(values.type):
        given = values.to_numpy()
        placed = np.empty(count, given.dtype) if len(rows) == count else np.full(count, np.nan)
        placed[rows] = given
        return placed
    if kind.is_timestamp(values.type):
        times = np.full(count, "NaT", "datetime64[us]")
        times[rows] = values.to_numpy()
        # Times stay times: as numpy's they are objects.
        return pd.DatetimeIndex(times, tz="UTC")
    places = np.full(count, -1)
    places[rows] = np.arange(len(rows))
    return values.take(pa.array(places, mask=places < 0)).to_pandas().array


def _sql(name: str) -> str:
    return statement(f"duckdb/features/{name}")


def _keys(spine: pd.DataFrame, view: FeatureView) -> pa.Table:
    """What is joined, in columns that DuckDB reads without Python's objects."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    entity = view.entity_column
    missing = [column for column in (entity, "event_time") if column not in spine]
    if missing:
        raise FeatureViewError(
            f"the spine has no column {' and no column '.join(missing)};"
            f" it has {', '.join(map(str, spine.columns))}",
            where=f"feature view {view.name}",
            do="Rename or add the column",
        )
    entities = spine[entity]
    if pd.api.types.is_float_dtype(entities):  # a gap in a column makes floats of whole numbers
        whole = entities.where(entities % 1 == 0).astype("Int64").astype("string")
        entities = whole.fillna(entities.astype("string"))
    keys = {"spine_row": pa.array(np.arange(len(spine))), "entity_id": _names(entities)}
    asked = {"event_time": "event_time", "document_time": "document_time", "cutoff": "known_time"}
    for name, column in asked.items():
        if column not in spine:
            keys[name] = pa.nulls(len(spine), pa.timestamp("us"))
            continue
        micros = pd.to_datetime(spine[column], utc=True, cache=False).to_numpy("datetime64[us]")
        keys[name] = pa.array(micros, pa.timestamp("us"))
    # In parts, so that each thread of DuckDB has some.
    joined = pa.table(keys)
    return pa.Table.from_batches(joined.to_batches(_PART), joined.schema)


def _most_of_one(keys: pa.Table) -> int:
    """How many rows of a spine are of the entity that has most of them."""
    from pyarrow.compute import max as largest

    most: int | None = largest(keys["entity_id"].value_counts().field("counts")).as_py()
    return most or 0


def _names(entities: pd.Series[Any]) -> pa.Array[Any]:
    """Texts as they are, which most ids are; others as texts."""
    import pyarrow as pa

    if entities.dtype == object:
        try:
            return pa.array(entities, pa.string(), from_pandas=True)
        except pa.ArrowTypeError:  # there is something else among them
            pass
    return pa.array(entities.astype("string"), pa.string(), from_pandas=True)
