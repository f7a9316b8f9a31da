"""The runs that computed vectors: where, how many, and what the process used."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from psycopg.types.json import Jsonb

from ml_assets.stores import postgres
from ml_assets.stores.sql import statement
from ml_assets.usage import Usage, place


def record_run(
    connection: postgres.Connection,
    run_id: str,
    space_id: str,
    encoded: int,
    started_at: datetime,
    usage: Usage,
) -> None:
    """Keep a run that encoded so many texts until now; of more than a year ago none is kept.

    A step that is tried again in the same run replaces itself.
    """
    history = [(second, "", name, value) for second, name, value in usage.points()]
    bound = {
        "run_id": run_id,
        "space_id": space_id,
        "encoded": encoded,
        "started_at": started_at,
        **asdict(place()),
        "history": Jsonb(history),
    }
    with connection.transaction():
        connection.execute(statement("postgres/embeddings/record_run"), bound)
        connection.execute(statement("postgres/embeddings/forget_runs"))
