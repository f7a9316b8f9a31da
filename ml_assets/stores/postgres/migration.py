"""The schema of PostgreSQL: the extension pgvector, and the migrations."""

from __future__ import annotations

import psycopg

from ml_assets.errors import StoreError, first_line
from ml_assets.stores.postgres.statements import Connection, run
from ml_assets.stores.sql import migrations

SCHEMA = "ml_schema"


def migrate(connection: Connection) -> list[str]:
    """Apply the migrations that are missing, in one transaction; return their names."""
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ml_schema.migrations'))")
        connection.execute(f"create schema if not exists {SCHEMA}")
        _create_extension(connection)
        connection.execute(
            "create table if not exists migrations"
            " (name text primary key, applied_at timestamptz not null default now())"
        )
        applied = {name for (name,) in connection.execute("select name from migrations")}
        missing = [(name, text) for name, text in migrations("postgres") if name not in applied]
        for name, text in missing:
            run(connection, text)
            connection.execute("insert into migrations (name) values (%s)", [name])
    return [name for name, _ in missing]


def _create_extension(connection: Connection) -> None:
    try:
        connection.execute("create extension if not exists vector schema public")
    except psycopg.Error as error:
        raise StoreError(
            f"pgvector is not available ({first_line(error)})",
            where="POSTGRES_URL",
            do="Install pgvector 0.8 or later on the server and run `create extension vector` once",
        ) from None
    row = connection.execute(
        "select extversion from pg_extension where extname = 'vector'"
    ).fetchone()
    version = str(row[0]) if row else "?"
    if tuple(map(int, version.split(".")[:2])) < (0, 8):
        raise StoreError(
            f"pgvector {version} is too old", where="POSTGRES_URL", do="Update it to 0.8 or later"
        )
