"""The schema of PostgreSQL: the extension pgvector, and the migrations."""

from __future__ import annotations

import psycopg

from ml_assets.errors import StoreError, first_line
from ml_assets.stores.migrations import STORES, find_pending
from ml_assets.stores.postgres.statements import Connection
from ml_assets.stores.sql import statement

SCHEMA = "ml_schema"

_OLD_MIGRATIONS = 17
"""As many as the version had from which there is an upgrade; they are six files since."""


def migrate(connection: Connection, where: str = "POSTGRES_URL") -> list[str]:
    """Apply the migrations that are missing, in one transaction; return their names.

    Whatever runs opens PostgreSQL first. So it remembers the migrations of the other stores as
    well: a home of a newer ml_assets is refused before anything is written to any store.

    Raises:
        StoreError: the tables are those of a newer ml_assets, or a migration was edited.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ml_schema.migrations'))")
        old = _set_old_aside(connection, where)
        connection.execute(f"create schema if not exists {SCHEMA}")
        _create_extension(connection)
        connection.execute(statement("postgres/stores/create_ledger"))
        applied: dict[str, dict[str, str]] = {store: {} for store in STORES}
        for store, name, checksum in connection.execute(statement("postgres/stores/read_ledger")):
            applied[store][name] = checksum
        pending = {store: find_pending(store, applied[store], where) for store in STORES}
        for migration in pending["postgres"]:
            connection.execute(migration.text)
        record = "insert into migrations (store, name, checksum) values (%s, %s, %s)"
        for store in STORES:
            for migration in pending[store]:
                connection.execute(record, [store, migration.name, migration.checksum])
        if old:
            connection.execute(statement("postgres/upgrade/carry_over"))
    return [migration.name for migration in pending["postgres"]]


def _set_old_aside(connection: Connection, where: str) -> bool:
    """Rename the schema of a version before 0.1, if this is one, so that its rows can be copied."""
    if connection.execute("select to_regclass('ml_schema.migrations')").fetchone() == (None,):
        return False
    ((count,),) = connection.execute(statement("postgres/upgrade/count_old_migrations")).fetchall()
    if count not in (0, _OLD_MIGRATIONS):
        raise StoreError(
            f"the tables are too old to be upgraded ({count} of {_OLD_MIGRATIONS} migrations)",
            where=where,
            do="Set ML_ASSETS_HOME to another folder, and run again",
        )
    if count:
        connection.execute(statement("postgres/upgrade/set_aside"))
    return bool(count)


def _create_extension(connection: Connection) -> None:
    try:
        connection.execute("create extension if not exists vector schema public")
    except psycopg.Error as error:
        raise StoreError(
            f"pgvector is not available ({first_line(error)})",
            where="POSTGRES_URL",
            do="Install pgvector 0.8 or later on the server and run `create extension vector` once",
        ) from None
    query = "select extversion from pg_extension where extname = 'vector'"
    ((version,),) = connection.execute(query).fetchall()
    if tuple(map(int, version.split(".")[:2])) < (0, 8):
        raise StoreError(
            f"pgvector {version} is too old", where="POSTGRES_URL", do="Update it to 0.8 or later"
        )
