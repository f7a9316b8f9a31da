"""A migrated connection, to a server by URL or to the embedded one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ml_assets.errors import StoreError, first_line
from ml_assets.stores.folders import folder
from ml_assets.stores.patience import patiently
from ml_assets.stores.postgres.embedded import start
from ml_assets.stores.postgres.migration import SCHEMA, migrate
from ml_assets.stores.postgres.statements import Connection

# Cursors are read to their end: planned for their first tenth, joins become slow.
_OPTIONS = f"-c search_path={SCHEMA},public -c timezone=UTC -c jit=off -c cursor_tuple_fraction=1"
PATIENCE = 30.0
"""Seconds to wait for a server that starts, or recovers from a crash."""

_migrated: set[str] = set()


def server_url(url: str | None, home: Path, database: str = "") -> str:
    """Return the URL of the server, starting the embedded one under `home` when `url` is None.

    `database` replaces the database of the URL; it is created when it is absent.
    """
    base = url or start(folder(home) / "postgres")
    if not database:
        return base
    _create_database(base, database, _where(url, home))
    return urlunsplit(urlsplit(base)._replace(path=f"/{database}"))


@contextmanager
def connect(url: str | None, home: Path) -> Iterator[Connection]:
    """Open a migrated connection in `ml_schema`, in autocommit.

    What belongs together says so with `connection.transaction()`.
    """
    from pgvector.psycopg import register_vector

    resolved = server_url(url, home)
    where = _where(url, home)
    try:
        with _open(resolved, where) as connection:
            if resolved not in _migrated:
                migrate(connection, where)
                _migrated.add(resolved)
            register_vector(connection)
            yield connection
    except psycopg.OperationalError as error:
        raise StoreError(
            first_line(error),
            where=where,
            do="Check the server, its log and its disk, and run again: nothing is half written",
        ) from None


def _where(url: str | None, home: Path) -> str:
    return "POSTGRES_URL" if url else str(home / "postgres")


def _open(url: str, where: str) -> Connection:
    if url.partition("//")[2].partition("/")[0].count("@") > 1:
        # The client would take what follows the first one for the host, and print it.
        raise StoreError("the password has an @", where=where, do="Write it as %40")
    if not _is_connection_string(url):
        # The client's own words can hold a part of the password.
        raise StoreError(
            "not a PostgreSQL URL",
            where=where,
            do="Write postgresql://user:password@host:5432/database, with / of a password as %2F",
        )
    try:
        return patiently(
            lambda: psycopg.connect(
                url,
                application_name=f"ml_assets:{os.getpid()}",
                options=_OPTIONS,
                connect_timeout=10,
                autocommit=True,
            ),
            lambda error: "the database system is" in str(error),  # starting, or recovering
            seconds=PATIENCE,
            pause=0.1,
            longest_pause=0.1,
        )
    except psycopg.OperationalError as error:
        raise StoreError(
            " ".join(str(error).split()).rstrip(".?"),
            where=where,
            do="Check that the server is up and the URL is right",
        ) from None


def _is_connection_string(url: str) -> bool:
    try:
        ports = str(conninfo_to_dict(url).get("port", "")).split(",")
    except psycopg.ProgrammingError:
        return False
    return all(port.isdecimal() for port in ports if port)


def _create_database(base: str, database: str, where: str) -> None:
    with _open(base, where) as connection:
        try:
            exists = connection.execute("select 1 from pg_database where datname = %s", [database])
            if exists.fetchone() is None:
                # Another process may be faster between the look and the creation.
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(
                        sql.SQL("create database {}").format(sql.Identifier(database))
                    )
        except psycopg.Error as error:
            raise StoreError(
                f"the database {database} cannot be created ({first_line(error)})",
                where=where,
                do="Create it, or let the role create databases",
            ) from None
