"""How things stand: the figures behind `ml-assets status` and the summary of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from ml_assets.documents.collections import GONE, count_rows, read_collections
from ml_assets.embeddings.refresh import count_vectors
from ml_assets.embeddings.space import current_space
from ml_assets.errors import mask_secrets
from ml_assets.settings import Settings, secret
from ml_assets.stores import duckdb, postgres
from ml_assets.stores.sql import statement
from ml_assets.training.candidates import read_candidates
from ml_assets.training.training_set import current_hash

Rows = list[dict[str, Any]]


def read_status(settings: Settings) -> dict[str, Any]:
    """Counts, collections, generations, candidates of the current training set, the champion."""
    space = current_space(settings)
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        champions = _rows(connection, "champion")
        return {
            "source": mask_secrets(settings.source),
            "home": str(settings.home),
            "vector_space": {"id": space.space_id, "model": space.model},
            **count_rows(connection),
            "vectors": count_vectors(connection, space),
            "by_collection": [
                asdict(row)
                for row in read_collections(connection)
                if row.fingerprint != GONE or row.read_error
            ],
            "generations": _rows(connection, "generations"),
            "candidates": _candidates(connection, settings.duckdb_file),
            "champion": champions[0] if champions else None,
        }


def _candidates(connection: postgres.Connection, duckdb_file: Path) -> Rows:
    if not duckdb_file.exists():
        return []
    with duckdb.connect(duckdb_file, read_only=True) as duck:
        current = current_hash(duck)
    found = read_candidates(connection, current) if current else []
    return [
        {
            "family": one.family,
            "run_id": one.run_id,
            "training_set_hash": one.training_set_hash,
            "metrics": one.metrics,
        }
        for one in found
    ]


def _rows(connection: postgres.Connection, name: str, bound: object = None) -> Rows:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(statement(f"postgres/operations/{name}"), bound)  # type: ignore[call-overload]
        return cursor.fetchall()
