"""A database as one file, and back: pg_dump and pg_restore of the wheel.

A dump is read by every later PostgreSQL on every machine, and holds no index: those are built
again. A copy of the server's own files would be tied to its major version, its processor and its
accounts, and be twice as large or more.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from ml_assets.errors import StoreError
from ml_assets.stores.postgres.embedded import binaries
from ml_assets.stores.postgres.statements import Connection

_VARIABLES = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
_BUILD_MEMORY = "-c maintenance_work_mem=512MB"
"""An HNSW index whose graph does not fit takes many times as long to build."""


def list_databases(connection: Connection) -> list[str]:
    """The databases of the server, without its templates."""
    query = "select datname from pg_database where not datistemplate order by datname"
    return [name for (name,) in connection.execute(query)]


def dump(url: str, file: Path) -> None:
    """Write the database of `url`, as it is at one moment, into a new file."""
    _run("pg_dump", url, "--format=custom", "--compress=gzip:1", f"--file={file}", where=file)


def load(url: str, file: Path) -> None:
    """Fill the empty database of `url` from a file that `dump` wrote."""
    whole = ("--exit-on-error", "--no-owner", "--no-privileges")
    _run("pg_restore", url, *whole, f"--jobs={os.cpu_count() or 1}", str(file), where=file)


def _run(program: str, url: str, *arguments: str, where: Path) -> None:
    """Run a program of the wheel; its password is in no list of processes."""
    words = conninfo_to_dict(url)
    given = {name: str(words[word]) for word, name in _VARIABLES.items() if words.get(word)}
    ended = subprocess.run(
        [str(binaries() / program), f"--dbname={words['dbname']}", *arguments],
        env={**os.environ, **given, "PGOPTIONS": _BUILD_MEMORY, "LC_ALL": "C"},
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if ended.returncode:
        reason = next(
            (line for line in ended.stderr.splitlines() if "error:" in line), "it was ended"
        )
        raise StoreError(
            f"{program} failed ({reason.rpartition('error: ')[2]})",
            where=str(where),
            do="Check the disk and the log of the server, and try again: nothing was changed",
        )
