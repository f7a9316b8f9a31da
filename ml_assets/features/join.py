"""The point-in-time join: what was known, at a cutoff, about each entity at its label time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_assets.errors import FeatureViewError
from ml_assets.features.definition import FeatureView
from ml_assets.stores import duckdb
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import pandas as pd


def point_in_time_join(
    duck: duckdb.Connection, spine: pd.DataFrame, views: Sequence[FeatureView]
) -> pd.DataFrame:
    """Add the features of `views` to every row of `spine`, as of its two times.

    A spine has `document_id` and/or `collection` (as the views ask), `event_time` (the label time)
    and, if wanted, `known_time` (the cutoff; absent or null: all that is known by now). Naive times
    are UTC. Among the rows of an entity with event_time <= the label time and known_time <= the
    cutoff, the one with the latest event time counts, and of these the one known last.

    Returns `spine`, same rows, order and index, plus `{view}__{feature}` for every feature and
    `{view}__event_time`. They are null where nothing was known, where the entity was removed, and
    where the value is older than the view's ttl.

    Raises:
        FeatureViewError: the spine lacks a column.
    """
    result = spine.copy()
    for view in views:
        for name, values in _join_view(duck, spine, view).items():
            result[name] = values.to_numpy() if values.dtype != object else values.array
    return result


def _join_view(duck: duckdb.Connection, spine: pd.DataFrame, view: FeatureView) -> pd.DataFrame:
    columns = ", ".join(
        f"feature.{column} as {name}"
        for column, name in zip(view.columns, view.qualified, strict=True)
    )
    text = statement("duckdb/features/point_in_time_join").format(
        table=view.table, columns=columns, event_time=f"{view.name}__event_time"
    )
    ttl = None if view.ttl is None else view.ttl.total_seconds()
    with duckdb.registered(duck, spine=_keys(spine, view)):
        return duck.execute(text, {"ttl": ttl}).df().drop(columns="spine_row")


def _keys(spine: pd.DataFrame, view: FeatureView) -> pd.DataFrame:
    import pandas as pd

    entity = view.entity_column
    missing = [column for column in (entity, "event_time") if column not in spine]
    if missing:
        raise FeatureViewError(
            f"the spine has no column {' and no column '.join(missing)};"
            f" it has {', '.join(map(str, spine.columns))}",
            where=f"feature view {view.name}",
            do="Rename or add the column",
        )
    keys = {"spine_row": range(len(spine)), "entity_id": spine[entity].astype("string").to_numpy()}
    for name, times in ("event_time", spine["event_time"]), ("cutoff", spine.get("known_time")):
        series = pd.Series(pd.NaT if times is None else times, index=spine.index)
        keys[name] = pd.to_datetime(series, utc=True).to_numpy("datetime64[us]")
    return pd.DataFrame(keys)
