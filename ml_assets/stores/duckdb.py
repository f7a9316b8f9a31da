"""DuckDB: one file for offline features, training sets and experiment analytics.

One process at a time may hold the file for writing, so connections are short, and who comes second
waits for a while before it is told who is in the way.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ml_assets.errors import DamagedStoreError, StoreError
from ml_assets.stores import migrations
from ml_assets.stores.folders import folder, put_aside, refusal
from ml_assets.stores.patience import patiently

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

    Connection = duckdb.DuckDBPyConnection
    Opener = Callable[[], AbstractContextManager[Connection]]
    """Opens the file for a short while: nobody else may write while it is open, and models are
    slow."""

PATIENCE = 30.0
"""Seconds to wait for another process to let go of the file."""

_HOLDER = re.compile(r"Conflicting lock is held in (?P<program>.*?)[ (]*PID (?P<pid>\d+)")
_CORRUPT = "Corrupt database file"
_OTHER_MODE = "different configuration"


def __getattr__(name: str) -> object:
    """The type of a connection, where Dagster asks; who opens no file imports no DuckDB."""
    if name == "Connection":
        import duckdb

        return duckdb.DuckDBPyConnection
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextmanager
def connect(
    path: Path, read_only: bool = False, *, patience: float = PATIENCE
) -> Iterator[Connection]:
    """Open the file, migrated, in UTC; it is closed at the end, also after an error.

    Waits up to `patience` seconds, with growing pauses, while another process holds the file.
    """
    import duckdb

    try:
        with _connected(path, read_only, patience) as connection:
            yield connection
    except duckdb.Error as error:
        if not isinstance(error, duckdb.IOException) and not str(error).startswith(_CORRUPT):
            raise
        explained = refusal(path, "the DuckDB file", error)
        if isinstance(explained, DamagedStoreError) and not read_only:
            explained = put_aside(explained, ".wal")
        raise explained from None


@contextmanager
def _connected(path: Path, read_only: bool, patience: float) -> Iterator[Connection]:
    folder(path.parent)
    connection = _open_patiently(path, read_only and path.exists(), patience)
    try:
        if read_only and not migrations.is_migrated("duckdb", connection, str(path)):
            connection.close()
            with _connected(path, False, patience):
                pass
            connection = _open_patiently(path, read_only, patience)
        connection.execute("set timezone = 'UTC'")
        if not read_only:
            migrations.migrate("duckdb", connection, str(path), transaction)
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit what the block wrote, or roll all of it back on an error."""
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def is_held(error: Exception) -> bool:
    """Whether it says that another process holds the file."""
    return bool(_HOLDER.search(str(error)))


def rewrite(path: Path) -> None:
    """Write the file anew from what is in it, so that it has no byte of what was deleted.

    The new one takes its place at once, while this process holds the old one: nobody writes into
    that any more. A kill leaves the old file or the new one.

    Raises:
        StoreError: another process holds the file for too long, or there is no space.
    """
    import duckdb

    fresh = path.with_name(f"{path.name}.new")
    for left in (fresh, fresh.with_name(f"{fresh.name}.wal")):
        left.unlink(missing_ok=True)
    with connect(path) as connection:
        ((name,),) = connection.execute("select current_database()").fetchall()
        connection.execute(f"attach '{_quoted(fresh)}' as fresh")
        connection.execute(f'copy from database "{name}" to fresh')
        connection.execute("force checkpoint fresh")
        connection.execute("detach fresh")
        # A log of the old file, written when it is closed, would be taken for one of the new.
        connection.execute(f'force checkpoint "{name}"')
        connection.execute("pragma disable_checkpoint_on_shutdown")
        if logs := list(path.parent.glob(f"{glob.escape(path.name)}*.wal")):
            raise duckdb.IOException(f"{logs[0].name} holds what is not in its file")
        with fresh.open("rb") as written:
            os.fsync(written.fileno())
        fresh.chmod(0o600)
        fresh.replace(path)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


@contextmanager
def registered(connection: Connection, **tables: pa.Table | pd.DataFrame) -> Iterator[None]:
    """Let SQL see Arrow tables and data frames under their names, for the length of the block.

    An earlier result must have been fetched to its end: after a `fetchone` DuckDB refuses.
    """
    try:
        for name, table in tables.items():
            connection.register(name, table)
        yield
    finally:
        for name in tables:
            connection.unregister(name)


def arrow_table(rows: Iterable[Sequence[object]], header: Mapping[str, str]) -> pa.Table:
    """Turn rows into an Arrow table of "string", "time" (UTC), "bigint", "double" or "boolean".

    A float that is nan becomes null.
    """
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "time": pa.timestamp("us", tz="UTC"),
        "bigint": pa.int64(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
    }
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return pa.table(
        {
            name: pa.array(column, types[kind], from_pandas=True)
            for (name, kind), column in zip(header.items(), columns, strict=True)
        }
    )


def _open_patiently(path: Path, read_only: bool, patience: float) -> Connection:
    import duckdb

    try:
        return patiently(
            lambda: duckdb.connect(str(path), read_only=read_only),
            lambda error: is_held(error) or _OTHER_MODE in str(error),
            seconds=patience,
            pause=0.02,
        )
    except (duckdb.IOException, duckdb.ConnectionException) as error:
        if holder := _HOLDER.search(str(error)):
            program = f"{holder['program']} (PID {holder['pid']})"
            if holder["pid"] == "0":  # its lock is all that is seen of it
                program = "in another container"
            message = f"held by another process, {program}, for more than {patience:g} s"
            do = "Wait for it, end it, or set DUCKDB_PATH to another file"
        elif _OTHER_MODE in str(error):
            message = "open in this process in another mode (reading or writing)"
            do = "Close that connection first"
        else:
            raise
        raise StoreError(message, where=str(path), do=do) from None
