"""Releases: what is served together; one is active, and its model is the champion."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from ml_assets.registry.model import ModelVersion
from ml_assets.registry.versions import read_version
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def champion(connection: postgres.Connection) -> ModelVersion | None:
    """The model version of the active release; MLflow's alias `champion` follows it."""
    row = connection.execute(statement("postgres/releases/active_release")).fetchone()
    version = row[-1] if row else None
    return read_version(connection, version=version) if version is not None else None


def release_model(
    connection: postgres.Connection, version: ModelVersion, *, actor: str, reason: str
) -> int:
    """Activate a release with `version`, its space and views, and the published generation.

    Call it in the transaction of the audit entry. Returns the release's number.
    """
    connection.execute("update releases set active = false where active")
    row = postgres.run(
        connection,
        statement("postgres/releases/insert_release"),
        {
            "space_id": version.space_id,
            "feature_views": Jsonb(version.feature_views),
            "model_name": version.name,
            "model_version": version.version,
            "actor": actor,
            "reason": reason,
        },
    ).fetchone()
    assert row is not None  # noqa: S101 - an insert that returns its row
    return int(row[0])
