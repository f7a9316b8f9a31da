"""ClickHouse: embedded (chDB, a folder) or a server by URL; the same SQL for both.

One process at a time may hold the folder of chDB, so connections are short, and who comes second
waits for a while before it is told who is in the way.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from ml_assets.errors import OutageError, StoreError, first_line
from ml_assets.stores.folders import folder
from ml_assets.stores.migrations import find_pending
from ml_assets.stores.patience import patiently, until_it_answers
from ml_assets.stores.sql import statements

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DATABASE = "ml_assets"
"""The database of a URL that names none, and the one of the embedded mode."""

PATIENCE = 30.0
"""Seconds to wait for another process to let go of the folder."""

_MARK = (
    "select table, uniqExact(partition_id), max(greatest(max_block_number, data_version))"
    " from system.parts where active and database = currentDatabase() group by table order by table"
)
_REFUSED = re.compile(r"AUTHENTICATION_FAILED|REQUIRED_PASSWORD|status 40[13]\b")
_NEXT_STEP = {
    164: "Give the user a profile that is not read-only",
    497: "Grant the user what it lacks, on the database of the URL",
    **dict.fromkeys((75, 243), "Make space on its disk, and run again"),
    **dict.fromkeys((202, 241), "Give it more memory, or run again when less is asked of it"),
}
"""What mends a refusal, by its code: READONLY, ACCESS_DENIED, CANNOT_WRITE_TO_FILE_DESCRIPTOR,
NOT_ENOUGH_SPACE, TOO_MANY_SIMULTANEOUS_QUERIES, MEMORY_LIMIT_EXCEEDED."""
_HOLDER = ".holder.pid"
"""Hidden, as a lock: to read is no change."""
_LOCKED = "Unable to open the chdb engine"


@contextmanager
def connect(url: str | None, home: Path, *, patience: float = PATIENCE) -> Iterator[Client]:
    """Open a migrated client; it is closed at the end, also after an error.

    Raises:
        StoreError: it cannot be opened, or refuses something in the block.
    """
    from clickhouse_connect.driver.exceptions import Error

    where = "CLICKHOUSE_URL" if url else str(home / "chdb")
    client = (
        until_it_answers(lambda: _open_server(url))
        if url
        else _open_patiently(folder(home / "chdb"), patience)
    )
    try:
        migrate(client, where)
        yield client
    except Error as error:
        raise _refusal(error, where) from None
    finally:
        client.close()


def mark(url: str) -> str:
    """Which blocks and mutations the tables of a server have: merges change neither.

    Raises:
        StoreError: it does not answer, or refuses.
    """
    from clickhouse_connect.driver.exceptions import Error

    client = _open_server(url)
    try:
        return repr(client.query(_MARK).result_rows)
    except Error as error:
        raise _refusal(error) from None
    finally:
        client.close()


def migrate(client: Client, where: str = "CLICKHOUSE_URL") -> list[str]:
    """Apply the migrations that are missing; return their names.

    ClickHouse has no transactions over statements: a migration is recorded after its last one, so
    each must bear to be run again (`if not exists`).
    """
    client.command(
        "create table if not exists migrations (name String, applied_at DateTime64(3, 'UTC'),"
        " checksum String) engine = ReplacingMergeTree order by name"
    )
    columns = {name for name, *_ in client.query("describe table migrations").result_rows}
    if "checksum" not in columns:  # else it is written each time, and looks like a change
        client.command("alter table migrations add column if not exists checksum String")
    rows = client.query("select name, checksum from migrations final").result_rows
    applied: dict[str, str] = dict(map(tuple, rows))
    pending = find_pending("clickhouse", applied, where)
    for migration in pending:
        for part in statements(migration.text):
            client.command(part)
        client.command(
            "insert into migrations values ({name:String}, now64(3), {checksum:String})",
            parameters={"name": migration.name, "checksum": migration.checksum},
        )
    return [migration.name for migration in pending]


def rewrite(client: Client, table: str, insert: str, bound: Mapping[str, object]) -> None:
    """Write a table anew: `insert` fills `{table}_anew`, which takes its place at once.

    Then the old one goes with all its parts. Nobody else may write the table meanwhile. A kill
    leaves the old table or the new one, and what the next call removes.

    Raises:
        clickhouse_connect.driver.exceptions.Error: the engine refuses, and the old one stays.
    """
    anew = f"{table}_anew"
    client.command(f"drop table if exists {anew} sync")
    client.command(f"create table {anew} as {table}")
    client.command(insert, {**bound})
    client.command(f"exchange tables {anew} and {table}")
    client.command(f"drop table {anew} sync")


def _open_server(url: str) -> Client:
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import Error

    parts = urlsplit(url)
    if not (parts.scheme and parts.hostname):
        raise StoreError(
            "not a ClickHouse URL",
            where="CLICKHOUSE_URL",
            do="Write it like http://user:password@host:8123/database",
        )
    database = parts.path.strip("/") or DATABASE
    if not database.replace("_", "").isalnum():
        raise StoreError(
            f"{database!r} is not a name of a database",
            where="CLICKHOUSE_URL",
            do="Use letters, digits and _ after the last /",
        )
    # Its errors are raised as well; logged, they would be shown twice.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        server = urlunsplit(parts._replace(path=""))
        with clickhouse_connect.get_client(dsn=server) as client:
            # Who may not create one may use one that is there.
            if not client.command(f"exists database `{database}`"):
                client.command(f"create database if not exists `{database}`")
        return clickhouse_connect.get_client(dsn=server, database=database)
    except (Error, ValueError) as error:
        raise _refusal(error) from None


def _refusal(error: Exception, where: str = "CLICKHOUSE_URL") -> StoreError:
    from clickhouse_connect.driver.exceptions import OperationalError

    code = getattr(error, "code", None)
    away = isinstance(error, OperationalError) and code is None
    if _REFUSED.search(str(error)):
        away, do = False, "Check user and password in it: http://user:password@host:8123"
    elif code in _NEXT_STEP:
        do = _NEXT_STEP[code]
    elif where != "CLICKHOUSE_URL":
        do = "Check its permissions and the disk, or set CLICKHOUSE_URL to a server"
    elif code is None:
        do = "Check that the server is up and the URL is right"
    else:
        do = "Look into the log of the server, and run again: what was written is kept"
    return (OutageError if away else StoreError)(first_line(error), where=where, do=do)


def _open_patiently(data: Path, patience: float) -> Client:
    from clickhouse_connect.driver.exceptions import Error

    def is_locked(error: Exception) -> bool:
        return _LOCKED in str(error)

    try:
        return patiently(lambda: _open_embedded(data), is_locked, seconds=patience, pause=0.05)
    except (Error, OSError) as error:
        message, do = first_line(error), "Check its permissions and the disk"
        if is_locked(error):
            holder = data / _HOLDER
            process = holder.read_text(encoding="utf-8") if holder.exists() else "unknown"
            message = f"held by another process (PID {process}) for more than {patience:g} s"
            do = "Wait for it, end it"
        do += ", or set CLICKHOUSE_URL to a server"
        raise StoreError(message, where=str(data), do=do) from None


def _open_embedded(data: Path) -> Client:
    import clickhouse_connect

    client = clickhouse_connect.get_client(interface="chdb", path=str(data))
    try:
        client.command(f"create database if not exists {DATABASE}")
        client.database = DATABASE
        (data / _HOLDER).write_text(str(os.getpid()), encoding="utf-8")
    except BaseException:
        client.close()  # else this process holds the folder
        raise
    return client
