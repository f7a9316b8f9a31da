"""The view `collection_activity`: from documents, chunks and the change log to offline rows."""

from __future__ import annotations

from datetime import datetime

from ml_assets.delta import Delta
from ml_assets.features.offline import InputState, append_changes, is_current
from ml_assets.features.views import COLLECTION_ACTIVITY
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement


def refresh_collection_features(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    *,
    known_time: datetime | None = None,
) -> Delta:
    """Make the latest rows of `collection_activity` those of the collections with documents."""
    view = COLLECTION_ACTIVITY
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        state = InputState.read(connection, "postgres/features/collection_state")
        if is_current(duck, view, state):
            return Delta(unchanged=state.entities)
        rows = connection.execute(statement("postgres/features/collections")).fetchall()
    header = {
        "entity_id": "string",
        "first_time": "time",
        "changed_time": "time",
        "removed_time": "time",
        "input_hash": "string",
        **{feature.name: feature.dtype for feature in view.features},
    }
    with duckdb.registered(duck, computed_collections=duckdb.arrow_table(rows, header)):
        return append_changes(duck, view, "computed_collections", state, known_time)
