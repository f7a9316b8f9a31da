"""A schema as one file, and back: pg_dump and pg_restore of the wheel.

A dump is read on every machine, and holds no index: those are built again. A copy of the server's
own files would be tied to its major version, its processor and its accounts, and be twice as large
or more. What pg_restore would execute itself is executed here, so that a server of an earlier
version takes it, from a role that is no superuser, in a transaction with whatever belongs to it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ml_assets.errors import StoreError, first_line
from ml_assets.stores.postgres.programs import binaries
from ml_assets.stores.postgres.statements import Connection
from ml_assets.stores.processes import child_environment
from ml_assets.stores.sql import statement

_FIRST_ITEM, _END = b"\n-- Name: ", b"\n-- PostgreSQL database dump complete"
"""Before and behind them are settings, some of which only later servers have, and words to psql."""


def list_databases(connection: Connection) -> list[str]:
    """The databases of the server, without its templates."""
    query = "select datname from pg_database where not datistemplate order by datname"
    return [name for (name,) in connection.execute(query)]


def dump(url: str, file: Path, schema: str) -> None:
    """Write a schema of the database of `url`, as it is at one moment, into a new file."""
    words = conninfo_to_dict(url)
    password = str(words.pop("password", ""))
    options = ("--format=custom", "--compress=gzip:1", f"--schema={schema}", f"--file={file}")
    # No list of processes shows a password.
    with _output("pg_dump", f"--dbname={make_conninfo('', **words)}", *options, password=password):
        pass


def load(connection: Connection, file: Path, schema: str) -> None:
    """Make what `dump` wrote of a schema, in the transaction of the caller.

    The schema is there, and empty.

    Raises:
        StoreError: the server does not take it.
    """
    ((path,),) = connection.execute("select current_setting('search_path')").fetchall()
    try:
        connection.execute(statement("postgres/stores/prepare_load"))
        connection.execute(_section(file, schema, "pre-data"))
        with _script(file, schema, "--section=data") as lines:
            _copy(connection, lines)
        connection.execute(_section(file, schema, "post-data"))
        connection.execute("select set_config('search_path', %s, true)", [path])
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise StoreError(
            f"the server does not take the backup ({first_line(error)})",
            where=str(file),
            do="Nothing was changed; see `From a pilot to servers` in docs/production.md",
        ) from None


def drop(connection: Connection, file: Path, schema: str) -> None:
    """Drop what `load` would make of a schema, where it is there; other things in it stay."""
    with _script(file, schema, "--schema-only", "--clean", "--if-exists") as lines:
        header = lines.read().partition(_FIRST_ITEM)[0]
    drops = (line for line in header.splitlines() if line.startswith((b"DROP ", b"ALTER ")))
    connection.execute(b"\n".join(drops))


def _copy(connection: Connection, lines: IO[bytes]) -> None:
    """Execute the section of the data: a COPY for each table, and the state of each sequence."""
    for line in lines:
        if line.startswith(b"COPY "):
            with connection.cursor() as cursor, cursor.copy(line) as rows:
                while (row := lines.readline()) != b"\\.\n":
                    if not row:
                        return  # pg_restore was ended, and its caller sees it
                    rows.write(row)
        elif line.startswith(b"SELECT pg_catalog.setval("):
            connection.execute(line)


def _section(file: Path, schema: str, section: str) -> bytes:
    with _script(file, schema, f"--section={section}") as lines:
        return lines.read().partition(_FIRST_ITEM)[2].partition(_END)[0].partition(b"\n")[2]


def _script(file: Path, schema: str, *options: str) -> AbstractContextManager[IO[bytes]]:
    """What pg_restore would execute for a schema, as a text."""
    nobody = ("--no-owner", "--no-privileges")
    return _output("pg_restore", *nobody, f"--schema={schema}", *options, "--file=-", str(file))


@contextmanager
def _output(program: str, *arguments: str, password: str = "") -> Iterator[IO[bytes]]:
    """What a program of the wheel prints.

    Raises:
        StoreError: it failed; the reason is its own.
    """
    given = {"PGPASSWORD": password} if password else {}
    command, environment = (
        [str(binaries() / program), *arguments],
        child_environment(LC_ALL="C", **given),
    )
    with (
        TemporaryFile() as errors,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        yield cast("IO[bytes]", process.stdout)
        process.wait()
        errors.seek(0)
        output = errors.read().decode(errors="replace")
    if process.returncode:
        reason = next((line for line in output.splitlines() if "error:" in line), "it was ended")
        raise StoreError(
            f"{program} failed ({reason.rpartition('error: ')[2]})",
            where=arguments[-1].removeprefix("--file="),
            do="Check the disk and the log of the server, and try again: nothing was changed",
        )
