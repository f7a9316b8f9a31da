"""The view `collection_activity`: from documents, chunks and the change log to offline rows."""

from __future__ import annotations

from datetime import datetime

from ml_assets.delta import Delta
from ml_assets.features.offline import ENTITY_HEADER, read_state, refresh_view
from ml_assets.features.sources.corpus import State
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement


def refresh_collection_features(
    connection: postgres.Connection, duck: duckdb.Connection, *, known_time: datetime | None = None
) -> Delta:
    """Make the latest rows of `collection_activity` those of the collections with documents."""

    def compute(_: State) -> None:
        rows = connection.execute(statement("postgres/documents/activity"))
        header = ENTITY_HEADER | {f.name: f.dtype for f in COLLECTION_ACTIVITY.features}
        with duckdb.registered(duck, collections=duckdb.arrow_table(rows, header)):
            duck.execute("create or replace temp table computed as from collections")

    inputs = "postgres/documents/activity_state"
    return refresh_view(
        connection,
        duck,
        COLLECTION_ACTIVITY,
        lambda: read_state(connection, inputs),
        compute,
        known_time,
    )
