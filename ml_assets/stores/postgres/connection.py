"""A migrated connection, to a server by URL or to the embedded one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ml_assets.errors import NothingToDoError, OutageError, StoreError, first_line
from ml_assets.stores.patience import patiently, until_it_answers
from ml_assets.stores.postgres import embedded
from ml_assets.stores.postgres.migration import SCHEMA, migrate
from ml_assets.stores.postgres.statements import Connection

# Cursors are read to their end: planned for their first tenth, joins become slow.
_OPTIONS = f"-c search_path={SCHEMA},public -c timezone=UTC -c jit=off -c cursor_tuple_fraction=1"
PATIENCE = 30.0
"""Seconds to wait for a server that starts, or recovers from a crash."""

_SETTING = "POSTGRES_URL"
_STARTING = "the database system is"  # starting, or recovering
_GONE = (
    *("Is the server running locally", "server closed the connection unexpectedly"),
    *("unexpected postmaster exit", "Connection reset"),
)
"""What a client says of a server that was killed just now; the embedded one is then started."""
_AWAY = (
    *(_STARTING, "Connection refused", "could not translate host name", "failed to resolve host"),
    *("timeout expired", "No route to host", "Network is unreachable", "Connection reset"),
    *("server closed the connection unexpectedly", "terminating connection"),
    *("too many clients", "remaining connection slots", "too many connections"),
)
"""What a client says of a server that may be there soon. What else it says, waiting does not mend.

Of an error while connecting it keeps the words alone, and no code.
"""
_ENDED = ("08", "57P")
"""Classes of codes: the connection broke, or the server ended it."""
_migrated: set[str] = set()


def server_url(url: str | None, home: Path, database: str = "") -> str:
    """Return the URL of the server, starting the embedded one under `home` when `url` is None.

    `database` replaces the database of the URL; it is created when it is absent. The URL of the
    embedded server is good for as long as this process uses it.
    """
    find = _finder(url, home)
    if not database:
        return find()
    _create_database(find, database, _where(url, home))
    return urlunsplit(urlsplit(find())._replace(path=f"/{database}"))


def stop(home: Path) -> None:
    """Stop the embedded server of `home`, unless another process uses it."""
    embedded.stop(home / "postgres")
    _migrated.clear()  # the next server may get the same URL


@contextmanager
def connect(url: str | None, home: Path) -> Iterator[Connection]:
    """Open a migrated connection in `ml_schema`, in autocommit.

    What belongs together says so with `connection.transaction()`.
    """
    from pgvector.psycopg import register_vector

    where = _where(url, home)
    try:
        with until_it_answers(lambda: _open(_finder(url, home), where)) as connection:
            server = url or where
            if server not in _migrated:
                migrate(connection, where)
                _migrated.add(server)
            register_vector(connection)
            yield connection
            # So that the next connection sees in the counts of rows all that this one wrote.
            connection.execute("select pg_stat_force_next_flush()")
    except psycopg.OperationalError as error:
        code = error.sqlstate
        kind = OutageError if code is None or code.startswith(_ENDED) else StoreError
        raise kind(
            first_line(error),
            where=where,
            do="Check the server, its log and its disk, and run again: nothing is half written",
        ) from None


def refuse_absent(url: str | None, home: Path) -> None:
    """Stop who only asks, before a home is made for that.

    Raises:
        NothingToDoError: there is no home yet.
    """
    if not exists(url, home):
        raise NothingToDoError(
            "nothing was run here yet", where=str(home), do="Run `ml-assets run`"
        )


def exists(url: str | None, home: Path) -> bool:
    """Whether there is something to connect to, as far as one sees without doing it."""
    return bool(url) or (home / "postgres").exists()


def _finder(url: str | None, home: Path) -> Callable[[], str]:
    """How to learn the URL of the server; of the embedded one this starts it, if need be."""
    return lambda: url or embedded.start(home / "postgres")


def _where(url: str | None, home: Path) -> str:
    return _SETTING if url else str(home / "postgres")


def _open(find: Callable[[], str], where: str) -> Connection:
    url = find()
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
    passing = (_STARTING,) if where == _SETTING else (_STARTING, *_GONE)
    try:
        return patiently(
            lambda: psycopg.connect(
                find(),
                application_name=f"ml_assets:{os.getpid()}",
                options=_OPTIONS,
                connect_timeout=10,
                autocommit=True,
            ),
            lambda error: any(words in str(error) for words in passing),
            seconds=PATIENCE,
            pause=0.1,
            longest_pause=0.1,
        )
    except psycopg.OperationalError as error:
        kind = OutageError if any(words in str(error) for words in _AWAY) else StoreError
        raise kind(
            " ".join(str(error).split()).rstrip(".?"),
            where=where,
            do="Check that the server is up and the URL is right"
            if where == _SETTING
            else f"See {where}.log",
        ) from None


def _is_connection_string(url: str) -> bool:
    try:
        ports = str(conninfo_to_dict(url).get("port", "")).split(",")
    except psycopg.ProgrammingError:
        return False
    return all(port.isdecimal() for port in ports if port)


def _create_database(find: Callable[[], str], database: str, where: str) -> None:
    with until_it_answers(lambda: _open(find, where)) as connection:
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
