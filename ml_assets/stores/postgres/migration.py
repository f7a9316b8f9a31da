"""The schema of PostgreSQL: the extension pgvector, and the migrations."""

from __future__ import annotations

import socket

import psycopg
from psycopg.types.json import Jsonb

from ml_assets.errors import RoleError, StoreError, first_line
from ml_assets.settings import load_settings
from ml_assets.stores.migrations import STORES, Migration, find_pending
from ml_assets.stores.postgres.refusals import refuse_old_pgvector
from ml_assets.stores.postgres.statements import Connection
from ml_assets.stores.sql import statement

SCHEMA = "ml_schema"

_LOG = "select ml_schema.append_audit(%s, %s, 'database', '', %s, %s)"

_OLD_MIGRATIONS = 17
"""As many as the version had from which there is an upgrade; they are six files since."""


def migrate(connection: Connection, where: str = "POSTGRES_URL") -> list[str]:
    """Apply the migrations that are missing, in one transaction; return their names.

    Whatever runs opens PostgreSQL first. So it remembers the migrations of the other stores as
    well: a home of a newer ml_assets is refused before anything is written to any store. When none
    is missing nothing is written, so that a role that may only read gets through.

    Raises:
        StoreError: the tables are those of a newer ml_assets, or a migration was edited.
        RoleError: roles were granted, and the actor of the settings is no admin.
    """
    there = connection.execute(statement("postgres/stores/has_ledger")).fetchone() == (True,)
    if there:
        refuse_old_pgvector(connection, where)
        if not any(_find_pending(connection, where).values()):
            return []
    actor = load_settings().actor
    _refuse_unentitled(connection, actor)
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ml_schema.migrations'))")
        old = _set_old_aside(connection, where)
        if connection.execute("select to_regnamespace(%s)", [SCHEMA]).fetchone() == (None,):
            connection.execute(f"create schema {SCHEMA}")
        _refuse_another_schema(connection, where)
        _create_extension(connection, where)
        connection.execute(statement("postgres/stores/create_ledger"))
        pending = _find_pending(connection, where)
        for migration in pending["postgres"]:
            connection.execute(migration.text)
        record = "insert into migrations (store, name, checksum) values (%s, %s, %s)"
        for store in STORES:
            for migration in pending[store]:
                connection.execute(record, [store, migration.name, migration.checksum])
        if old:
            connection.execute(statement("postgres/upgrade/carry_over"))
        applied = [f"{store}/{each.name}" for store in STORES for each in pending[store]]
        if applied and (old or there):  # of new tables there is nothing to tell
            bound = [actor, "migrate", Jsonb({"migrations": applied}), socket.gethostname()]
            connection.execute(_LOG, bound)
    return [migration.name for migration in pending["postgres"]]


def _refuse_unentitled(connection: Connection, actor: str) -> None:
    """Stop who is no admin by the roles in the database, if it knows of any; it is logged there."""
    if connection.execute("select to_regproc('ml_schema.may')").fetchone() == (None,):
        return
    if connection.execute("select ml_schema.may(%s, 'admin')", [actor]).fetchone() == (True,):
        return
    what = f"{actor!r} may not migrate the tables: that takes an admin"
    details = Jsonb({"action": "migrate"})
    connection.execute(_LOG, [actor, "deny", details, socket.gethostname()])
    raise RoleError(what, where="roles", do="Ask an admin of `ml-assets roles` to run first")


def _find_pending(connection: Connection, where: str) -> dict[str, list[Migration]]:
    applied: dict[str, dict[str, str]] = {store: {} for store in STORES}
    for store, name, checksum in connection.execute(statement("postgres/stores/read_ledger")):
        applied[store][name] = checksum
    return {store: find_pending(store, applied[store], where) for store in STORES}


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


def _refuse_another_schema(connection: Connection, where: str) -> None:
    """Stop before tables are made in the schema of somebody else."""
    ((schema,),) = connection.execute("select current_schema()").fetchall()
    if schema != SCHEMA:
        raise StoreError(
            f"the search path does not hold: it leads to {schema}, not to {SCHEMA}",
            where=where,
            do="Let the pooler in between pool sessions, or connect to the server itself",
        )


def _create_extension(connection: Connection, where: str) -> None:
    query = "select from pg_extension where extname = 'vector'"
    if connection.execute(query).fetchone() is None:
        try:
            connection.execute("create extension vector schema public")
        except psycopg.Error as error:
            raise StoreError(
                f"pgvector is not available ({first_line(error)})",
                where=where,
                do="Install pgvector 0.8 or later on the server and run `create extension vector`"
                " in the database, once",
            ) from None
    refuse_old_pgvector(connection, where)
