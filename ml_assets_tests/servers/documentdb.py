"""DocumentDB, the extension of PostgreSQL that answers as MongoDB does, in a Debian of its own.

It is in no release of Debian yet, so its PostgreSQL lies in a folder with the base of `trixie` and
what it needs of `sid`, which is made once (three minutes), by root and with `debootstrap`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson
import psycopg

from ml_assets_tests.servers.mongodb import Bson, RefusedError
from ml_assets_tests.servers.starting import (
    CACHE,
    AbsentError,
    end,
    find_program,
    free_port,
    launch,
    wait_until,
)

DEBIAN = CACHE / "documentdb"
"""The folder that is made once."""

_PROGRAMS = "/usr/lib/postgresql/18/bin"
_MIRROR = "http://deb.debian.org/debian"
_NOBODY = "65534:65534"
_PRELOADED = "pg_cron,pg_documentdb_core,pg_documentdb"

_CURSORS = {
    "aggregate": "aggregate_cursor_first_page",
    "listCollections": "list_collections_cursor_first_page",
}
_BSON = "%s::bytea::documentdb_core.bson"
_WRITES = ("insert", "update", "delete")


class DocumentDb:
    """The engine behind a connection to it."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("create extension if not exists documentdb cascade")
        self._continuations: dict[int, bytes] = {}

    def run(self, database: str, command: Bson) -> bytes:
        name, value = next(iter(command.items()))
        try:
            if name in _CURSORS:
                return self._begin(database, _CURSORS[name], command)
            if name == "getMore":
                return self._continue(database, value, command)
            if name in _WRITES:
                done = f"select p_result::bytea from documentdb_api.{name}(%s, {_BSON})"
                return bytes(self._one(done, database, _encoded(command))[0])
            if name == "drop":
                self._one("select documentdb_api.drop_collection(%s, %s)", database, value)
                return bson.encode({"ok": 1.0})
        except psycopg.Error as error:
            message = error.diag.message_primary or str(error)
            raise RefusedError(1, error.sqlstate or "InternalError", message) from None
        raise RefusedError(59, "CommandNotFound", f"no such command: '{name}'")

    def close(self) -> None:
        self._connection.close()

    def _begin(self, database: str, function: str, command: Bson) -> bytes:
        page, continuation, cursor = self._one(
            "select cursorpage::bytea, continuation::bytea, cursorid"
            f" from documentdb_api.{function}(%s, {_BSON})",
            database,
            _encoded(command),
        )
        if continuation is not None:
            self._continuations[cursor] = continuation
        return bytes(page)

    def _continue(self, database: str, cursor: int, command: Bson) -> bytes:
        if (before := self._continuations.pop(cursor, None)) is None:
            raise RefusedError(43, "CursorNotFound", f"cursor id {cursor} not found")
        page, continuation = self._one(
            "select cursorpage::bytea, continuation::bytea"
            f" from documentdb_api.cursor_get_more(%s, {_BSON}, {_BSON})",
            database,
            _encoded(command),
            before,
        )
        if continuation is not None:
            self._continuations[cursor] = continuation
        return bytes(page)

    def _one(self, query: str, *bound: object) -> Any:
        return self._connection.execute(query, bound, binary=True).fetchone()


def _encoded(command: Bson) -> bytes:
    """The command without what is the connection's business."""
    return bson.encode(
        {k: v for k, v in command.items() if k not in ("$db", "lsid", "$readPreference")}
    )


@contextmanager
def documentdb_over_tcp(debian: Path = DEBIAN) -> Iterator[str]:
    """The URL of a PostgreSQL with this extension, whose data are new.

    Raises:
        AbsentError: it cannot be made on this machine.
    """
    make(debian)
    data, port = f"/pg/{os.getpid()}", free_port()
    inside = ["chroot", f"--userspec={_NOBODY}", str(debian)]
    first = [f"{_PROGRAMS}/initdb", "-D", data, "-U", "postgres", "--no-sync", "-A", "trust"]
    subprocess.run(
        [*inside, *first, "-E", "UTF8", "--locale=C.UTF-8"], check=True, capture_output=True
    )
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "shared_preload_libraries": _PRELOADED,
        "cron.database_name": "postgres",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    log = debian / "pg" / f"{os.getpid()}.log"
    server = launch([*inside, f"{_PROGRAMS}/postgres", "-D", data, *options], debian, log)
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        wait_until(lambda: _answers(url), server, log)
        yield url
    finally:
        end(server)
        subprocess.run(["rm", "-rf", f"{debian}{data}", str(log)], check=True)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def make(debian: Path) -> None:
    """Make the folder, unless it is there."""
    if (debian / "made").exists():
        return
    if os.geteuid() != 0 or not find_program("debootstrap"):
        raise AbsentError("it needs root, and the program debootstrap")
    debian.parent.mkdir(parents=True, exist_ok=True)
    log = debian.with_suffix(".log")
    inside = ["chroot", str(debian)]
    sid = f"deb [check-valid-until=no] {_MIRROR} sid main"
    get = [*inside, "apt-get", "-y", "-o", "Dpkg::Options::=--force-unsafe-io"]
    _said(["debootstrap", "--variant=minbase", "trixie", str(debian), _MIRROR], log)
    (debian / "etc/apt/sources.list.d/sid.list").write_text(sid + "\n")
    _said([*get, "update"], log)
    # Its scripts want to start a service, and fail; what they would set up is not needed.
    install = [*get, "install", "--no-install-recommends", "postgresql-18-documentdb"]
    _said(install, log, check=False)
    if not (debian / "usr/lib/postgresql/18/lib/pg_documentdb.so").exists():
        raise AbsentError(f"postgresql-18-documentdb cannot be installed: see {log}")
    (debian / "pg").mkdir()
    os.chown(debian / "pg", *map(int, _NOBODY.split(":")))
    (debian / "made").touch()


def _said(command: list[str], log: Path, *, check: bool = True) -> None:
    with log.open("ab") as out:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
        done = subprocess.run(command, stdout=out, stderr=out, env=environment, check=False)
    if check and done.returncode:
        raise AbsentError(f"{command[0]} failed: see {log}")
