"""A migrated connection, to a server by URL or to the embedded one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from ml_assets.errors import NothingToDoError, OutageError, StoreError, first_line
from ml_assets.settings import Settings, secret
from ml_assets.stores.patience import patiently, until_it_answers
from ml_assets.stores.postgres import embedded
from ml_assets.stores.postgres.migration import migrate
from ml_assets.stores.postgres.refusals import (
    not_permitted,
    refuse_old_server,
    refuse_shared_session,
)
from ml_assets.stores.postgres.statements import Connection
from ml_assets.stores.sql import statement

PATIENCE = 30.0
"""Seconds to wait for a server that starts, or recovers from a crash."""

_SETTING = "POSTGRES_URL"
_READ_SETTING = "POSTGRES_READ_URL"
_STARTING = "the database system is"  # starting, or recovering
_GONE = (
    *("Is the server running locally", "server closed the connection unexpectedly"),
    *("unexpected postmaster exit", "Connection reset"),
)
"""What a client says of a server that was killed just now; the embedded one is then started."""
_UNKNOWN = re.compile(r'invalid URI query parameter: "(\w+)"')
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
_NOTICE_LOST_SERVER = {
    "connect_timeout": 10,
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""Seconds, and milliseconds: half as long as the server waits for a host that is gone, and then
gives its turn to another."""
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
    forget_migrated()  # the next server may get the same URL


def forget_migrated() -> None:
    """Look at each server again when it is connected to next."""
    _migrated.clear()


@contextmanager
def connect(
    url: str | None,
    home: Path,
    where: str = "",
    idle: list[Connection] | None = None,
    *,
    vectors: bool = True,
) -> Iterator[Connection]:
    """Open a migrated connection in `ml_schema`, in autocommit.

    What belongs together says so with `connection.transaction()`. `where` is the setting that the
    URL is of, when that is not POSTGRES_URL. With `idle`, one of these is handed out if it still
    works, and one that ends well is put there, without its temporary tables, for its owner to
    close. Without `vectors`, which nobody then reads or writes, numpy is not imported.
    """
    where, find = where or _where(url, home), _finder(url, home)
    try:
        with _session(find, url or where, where, idle, vectors) as connection:
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


@contextmanager
def _session(
    find: Callable[[], str],
    server: str,
    where: str,
    idle: list[Connection] | None,
    vectors: bool,
) -> Iterator[Connection]:
    """One of `idle`, or a new one; a session that ends well is put there, another one closed."""
    connection = _working(idle) or until_it_answers(lambda: _begin(find, server, where, vectors))
    try:
        with _permitted(connection, where):
            yield connection
        if idle is not None and connection.info.transaction_status == TransactionStatus.IDLE:
            connection.execute("discard temp")
            idle.append(connection)
    finally:
        if idle is None or connection not in idle:
            connection.close()


def _working(idle: list[Connection] | None) -> Connection | None:
    while idle:
        connection = idle.pop()
        try:
            connection.execute("select 1")
        except psycopg.OperationalError:  # its server was ended since
            connection.close()
        else:
            return connection
    return None


def _begin(find: Callable[[], str], server: str, where: str, vectors: bool) -> Connection:
    connection = _open(find, where)
    try:
        with _permitted(connection, where):
            if server not in _migrated:
                refuse_shared_session(connection, lambda: _open(find, where), where)
            connection.execute(statement("postgres/stores/begin_session"))
            if server not in _migrated:
                migrate(connection, where)
                _migrated.add(server)
            if vectors:
                from pgvector.psycopg import register_vector

                register_vector(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def open_plain(url: str, where: str) -> Iterator[Connection]:
    """Open a database of which nothing is known, in autocommit; `where` is its setting.

    Raises:
        StoreError: it does not answer, or its version is too old.
    """
    with until_it_answers(lambda: _open(lambda: url, where)) as connection:
        yield connection


def connect_reader(settings: Settings) -> AbstractContextManager[Connection]:
    """Open a connection for what only reads: to POSTGRES_READ_URL, where it is set."""
    if url := secret(settings.postgres_read_url):
        return connect(url, settings.home, _READ_SETTING)
    return connect(secret(settings.postgres_url), settings.home)


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


@contextmanager
def _permitted(connection: Connection, where: str) -> Iterator[None]:
    try:
        yield
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.ReadOnlySqlTransaction,
    ) as error:
        raise not_permitted(connection, error, where) from None
    except psycopg.errors.UndefinedTable as error:
        raise StoreError(
            f"a table is missing ({first_line(error)})",
            where=where,
            do="Run again; if another hand dropped it, `ml-assets restore` a backup",
        ) from None


def _open(find: Callable[[], str], where: str) -> Connection:
    url = find()
    if url.partition("//")[2].partition("/")[0].count("@") > 1:
        # The client would take what follows the first one for the host, and print it.
        raise StoreError("the password has an @", where=where, do="Write it as %40")
    by_url = where.isupper()  # a setting, not a folder
    passing = (_STARTING,) if by_url else (_STARTING, *_GONE)
    ours: dict[str, Any] = {"application_name": f"ml_assets:{os.getpid()}", **_NOTICE_LOST_SERVER}
    for given in ours.keys() & _parameters(url, where).keys():
        del ours[given]
    try:
        connection = patiently(
            lambda: psycopg.connect(find(), autocommit=True, **ours),
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
            do="Check that the server is up and the URL is right" if by_url else f"See {where}.log",
        ) from None
    try:
        refuse_old_server(connection, where)
    except StoreError:
        connection.close()
        raise
    return connection


def _parameters(url: str, where: str) -> dict[str, Any]:
    """What a URL says, by the client's names.

    Raises:
        StoreError: it is not a URL, or has a parameter that the client does not know. The client's
            own words can hold a part of the password, and are not shown.
    """
    try:
        words = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        unknown = _UNKNOWN.search(str(error))
        if unknown and "@" not in url.partition("?")[2]:
            raise StoreError(
                f"PostgreSQL has no parameter {unknown[1]}",
                where=where,
                do="Correct it, or write a setting of the server as options=-c%20name%3Dvalue",
            ) from None
        words = {"port": "none"}
    ports = str(words.get("port", "")).split(",")
    if not all(port.isdecimal() for port in ports if port):
        raise StoreError(
            "not a PostgreSQL URL",
            where=where,
            do="Write postgresql://user:password@host:5432/database, with / of a password as %2F",
        )
    return words


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
