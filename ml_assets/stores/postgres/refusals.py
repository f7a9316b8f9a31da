"""Servers, poolers and roles that cannot be worked with, told before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from ml_assets.errors import StoreError, first_line
from ml_assets.stores.postgres.statements import Connection
from ml_assets.stores.sql import statement

OLDEST = 15
"""The oldest PostgreSQL that every statement runs on."""


@dataclass(frozen=True, slots=True)
class _Pgvector:
    """The extension in a database; `usable`: the role may use its schema."""

    schema: str
    version: str
    usable: bool
    role: str


@dataclass(frozen=True, slots=True)
class _Rights:
    """What a role may do in a database; the owner of the tables is None when there are none."""

    role: str
    database: str
    owner: str | None
    reads: bool


def refuse_old_server(connection: Connection, where: str) -> None:
    """Stop before the first statement that an old server does not know.

    Raises:
        StoreError: the server is older than `OLDEST`.
    """
    version = connection.info.server_version // 10_000
    if version < OLDEST:
        raise StoreError(
            f"PostgreSQL {version} is too old",
            where=where,
            do=f"Update the server to {OLDEST} or later, with pgvector 0.8 or later",
        )


def refuse_shared_session(
    connection: Connection, another: Callable[[], AbstractContextManager[Connection]], where: str
) -> None:
    """Stop if a pooler gives the server's session to other clients between two transactions.

    Locks, cursors and the search path are those of a session. Behind a pooler the process that
    answers is another than the one that the client was told when it connected; then the session is
    marked, and a second client must not see the mark.

    Raises:
        StoreError: the mark was seen.
    """
    look = statement("postgres/stores/look_at_session")
    ((pid, marked),) = connection.execute(look).fetchall()
    if pid == connection.info.backend_pid:
        return
    if not marked:
        connection.execute(statement("postgres/stores/mark_session"))
        with another() as second:
            ((_, marked),) = second.execute(look).fetchall()
    if marked:
        raise StoreError(
            "the pooler in between hands a session to other clients while it is in use",
            where=where,
            do="Let it pool sessions, and reset them (PgBouncer: pool_mode = session,"
            " server_reset_query = discard all), or connect to the server itself",
        )


def refuse_old_pgvector(connection: Connection, where: str) -> None:
    """Stop if pgvector is too old, or lies in a schema that the role may not use.

    Raises:
        StoreError: one of the two, or it is not there at all.
    """
    with connection.cursor(row_factory=class_row(_Pgvector)) as cursor:
        pgvector = cursor.execute(statement("postgres/stores/find_pgvector")).fetchone()
    if pgvector is None:
        raise StoreError(
            "the database has no pgvector", where=where, do="Run `create extension vector` in it"
        )
    if tuple(map(int, pgvector.version.split(".")[:2])) < (0, 8):
        raise StoreError(
            f"pgvector {pgvector.version} is too old",
            where=where,
            do="Install 0.8 or later on the server and run `alter extension vector update`",
        )
    if not pgvector.usable:
        raise StoreError(
            f"the role may not use the schema {pgvector.schema}, which pgvector is in",
            where=where,
            do=f"Run `grant usage on schema {pgvector.schema} to {pgvector.role}`",
        )


def not_permitted(connection: Connection, error: psycopg.Error, where: str) -> StoreError:
    """The error for a person whose role lacks a privilege, with the grant that gives it."""
    with connection.cursor(row_factory=class_row(_Rights)) as cursor:
        (rights,) = cursor.execute(statement("postgres/stores/rights")).fetchall()
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        do = "Write to the primary: POSTGRES_URL; a replica is for POSTGRES_READ_URL"
    elif "temporary tables" in str(error):
        do = f"Run `grant temporary on database {rights.database} to {rights.role}`"
    elif rights.owner is None:
        do = f"Run `grant create on database {rights.database} to {rights.role}`"
    elif not rights.reads:
        do = (
            f"Let it read: `grant usage on schema ml_schema to {rights.role};"
            f" grant select on all tables in schema ml_schema to {rights.role}`"
        )
    else:
        do = f"It may only read; let it write: `grant {rights.owner} to {rights.role}`"
    return StoreError(first_line(error), where=where, do=do)
