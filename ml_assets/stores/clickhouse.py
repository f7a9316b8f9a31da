"""ClickHouse: embedded (chDB, a folder) or a server by URL; the same SQL for both.

One process at a time may hold the folder of chDB, so connections are short, and who comes second
waits for a while before it is told who is in the way.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from ml_assets.errors import StoreError
from ml_assets.stores.folders import folder
from ml_assets.stores.sql import migrations, statements

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DATABASE = "ml_assets"
"""The database of a URL that names none, and the one of the embedded mode."""

PATIENCE = 30.0
"""Seconds to wait for another process to let go of the folder."""

_HOLDER = "holder.pid"
_LOCKED = "Unable to open the chdb engine"


@contextmanager
def connect(url: str | None, home: Path, *, patience: float = PATIENCE) -> Iterator[Client]:
    """Open a migrated client; it is closed at the end, also after an error.

    Raises:
        StoreError: the server cannot be reached, or another process holds the folder.
    """
    client = _open_server(url) if url else _open_patiently(folder(home / "chdb"), patience)
    try:
        migrate(client)
        yield client
    finally:
        client.close()


def migrate(client: Client) -> list[str]:
    """Apply the migrations that are missing; return their names.

    ClickHouse has no transactions over statements: a migration is recorded after its last one, so
    each must bear to be run again (`if not exists`).
    """
    client.command(
        "create table if not exists migrations (name String, applied_at DateTime64(3, 'UTC'))"
        " engine = ReplacingMergeTree order by name"
    )
    applied = {name for (name,) in client.query("select name from migrations").result_rows}
    missing = [(name, text) for name, text in migrations("clickhouse") if name not in applied]
    for name, text in missing:
        for part in statements(text):
            client.command(part)
        client.command(
            "insert into migrations values ({name:String}, now64(3))", parameters={"name": name}
        )
    return [name for name, _ in missing]


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
    database = _identifier(parts.path.strip("/") or DATABASE)
    # Its errors are raised as well; logged, they would be shown twice.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        server = urlunsplit(parts._replace(path=""))
        with clickhouse_connect.get_client(dsn=server) as client:
            client.command(f"create database if not exists `{database}`")
        return clickhouse_connect.get_client(dsn=server, database=database)
    except (Error, ValueError) as error:
        raise StoreError(
            str(error).splitlines()[0],
            where="CLICKHOUSE_URL",
            do="Check that the server is up and the URL is right",
        ) from None


def _open_patiently(data: Path, patience: float) -> Client:
    from clickhouse_connect.driver.exceptions import Error

    deadline = time.monotonic() + patience
    pause = 0.05
    while True:
        try:
            return _open_embedded(data)
        except Error as error:
            if _LOCKED not in str(error) or time.monotonic() + pause > deadline:
                raise _refusal(data, str(error), patience) from None
        time.sleep(pause)
        pause = min(pause * 2, 1.0)


def _open_embedded(data: Path) -> Client:
    import clickhouse_connect

    client = clickhouse_connect.get_client(interface="chdb", path=str(data))
    client.command(f"create database if not exists {DATABASE}")
    client.database = DATABASE
    (data / _HOLDER).write_text(str(os.getpid()), encoding="utf-8")
    return client


def _refusal(data: Path, message: str, patience: float) -> StoreError:
    if _LOCKED not in message:
        return StoreError(
            message.splitlines()[0],
            where=str(data),
            do="Check its permissions and the disk, or set CLICKHOUSE_URL to a server",
        )
    holder = data / _HOLDER
    process = holder.read_text(encoding="utf-8") if holder.exists() else "unknown"
    return StoreError(
        f"held by another process (PID {process}) for more than {patience:g} s",
        where=str(data),
        do="Wait for it, end it, or set CLICKHOUSE_URL to a server",
    )


def _identifier(name: str) -> str:
    if not name.replace("_", "").isalnum():
        raise StoreError(
            f"{name!r} is not a name of a database",
            where="CLICKHOUSE_URL",
            do="Use letters, digits and _ after the last /",
        )
    return name
