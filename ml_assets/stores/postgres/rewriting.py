"""Tables, statistics and the write-ahead log written anew, so that no file has what was deleted.

PostgreSQL leaves a deleted row in its page, and a page in its log, until something else needs the
place. A table of vectors is copied beside itself, as its graph takes long to build: who searches
waits for the exchange alone. Any other is short, and written by `vacuum full`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, LockNotAvailable

from ml_assets.stores.patience import patiently
from ml_assets.stores.postgres.statements import Connection
from ml_assets.stores.sql import statement

_COPY = "anew_"
"""What the name of a copy begins with."""
_PATIENCE = 60.0
"""Seconds for which readers may hold a table again and again."""
_PAUSE = 0.2
_SPARE = 20
"""Times that the log is switched, beside once for each of its files."""
_STATISTICS = ("pg_statistic", "pg_statistic_ext_data")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A table that has rows of its own. `parent` and `bound`: of a partition.

    `is_graph`: an index on it takes long to build.
    """

    schema: str
    name: str
    parent: str | None
    bound: str | None
    is_graph: bool

    @property
    def identifier(self) -> sql.Identifier:
        """Its whole name."""
        return sql.Identifier(self.schema, self.name)

    @property
    def copy(self) -> str:
        """The name of its copy: short, as PostgreSQL cuts names of more than 63 bytes."""
        return f"{_COPY}{hashlib.sha256(self.name.encode()).hexdigest()[:16]}"


def leaves(connection: Connection, schema: str) -> list[Leaf]:
    """Every table of a schema that has rows of its own, by name; copies that a kill left go."""
    query = statement("postgres/stores/leaves")
    found = [Leaf(*row) for row in connection.execute(query, {"schema": schema})]
    for leaf in found:
        if leaf.name.startswith(_COPY):
            connection.execute(sql.SQL("drop table {}").format(leaf.identifier))
    return [leaf for leaf in found if not leaf.name.startswith(_COPY)]


def rewrite(connection: Connection, leaf: Leaf) -> None:
    """Write a table anew, with its indexes; what was deleted is in none of its files then.

    Raises:
        LockNotAvailable: readers held it for a minute.
    """
    if leaf.parent and leaf.is_graph:
        _exchange(connection, leaf)
    else:
        _patiently(connection, sql.SQL("vacuum (full, analyze) {}").format(leaf.identifier))


def rewrite_statistics(connection: Connection) -> bool:
    """Write anew what the planner keeps of values; False: only a superuser may."""
    connection.execute("analyze")
    try:
        for table in _STATISTICS:
            name = sql.Identifier("pg_catalog", table)
            _patiently(connection, sql.SQL("vacuum (full) {}").format(name))
    except InsufficientPrivilege:
        return False
    # Who may not is only warned.
    row = connection.execute("select rolsuper from pg_roles where rolname = current_user")
    return row.fetchone() == (True,)


def renew_log(connection: Connection) -> int:
    """Remove every file that the write-ahead log had when this was called; return their number.

    For a server that nobody else uses, as a superuser. Files are not reused meanwhile: one that is
    keeps what was in it behind what is written next.

    Raises:
        TimeoutError: something, as a replication slot, keeps the files.
    """
    names = "select name from pg_ls_waldir()"
    before = {name for (name,) in connection.execute(names)}
    connection.execute("alter system set wal_recycle = off")
    connection.execute("select pg_reload_conf()")
    try:
        _await_setting(connection)
        for _ in range(len(before) + _SPARE):
            connection.execute("select pg_logical_emit_message(false, '', '')")
            connection.execute("select pg_switch_wal()")
            connection.execute("checkpoint")
            left = before.intersection(name for (name,) in connection.execute(names))
            if not left:
                return len(before)
        raise TimeoutError(f"the write-ahead log keeps {min(left)}")
    finally:
        connection.execute("alter system reset wal_recycle")
        connection.execute("select pg_reload_conf()")


def _await_setting(connection: Connection) -> None:
    for _ in range(100):
        if connection.execute("show wal_recycle").fetchone() == ("off",):
            break
        time.sleep(0.02)
    time.sleep(_PAUSE)  # the checkpointer reads it, too, when it wakes


def _exchange(connection: Connection, leaf: Leaf) -> None:
    """Copy the rows of a partition, build its indexes there, and put the copy in its place."""
    copy = sql.Identifier(leaf.schema, leaf.copy)
    names = {"leaf": leaf.identifier, "copy": copy}
    indexes = _indexes(connection, leaf)
    connection.execute(sql.SQL("drop table if exists {copy}").format(**names))
    create = "create table {copy} (like {leaf} including all excluding indexes)"
    with connection.transaction():
        connection.execute("select set_config('maintenance_work_mem', '512MB', true)")
        connection.execute(sql.SQL(create).format(**names))
        fill = "insert into {copy} ({columns}) select {columns} from {leaf}"
        connection.execute(sql.SQL(fill).format(columns=_columns(connection, leaf), **names))
        for number, (_, definition, constraint) in enumerate(indexes):
            new = sql.Identifier(f"{leaf.copy}_{number}")
            _create_index(connection, copy, new, definition, constraint)
    swap = partial(_swap, connection, leaf, [name for name, _, _ in indexes])
    patiently(swap, _is_held, seconds=_PATIENCE, pause=_PAUSE)
    connection.execute(sql.SQL("analyze {leaf}").format(**names))


def _indexes(connection: Connection, leaf: Leaf) -> list[tuple[str, str, str | None]]:
    """Name, definition and, of a key, constraint of each index of a table."""
    bound = {"schema": leaf.schema, "table": leaf.name}
    return connection.execute(statement("postgres/stores/indexes_of"), bound).fetchall()


def _columns(connection: Connection, leaf: Leaf) -> sql.Composed:
    """The columns of a table that are written, not generated."""
    bound = {"schema": leaf.schema, "table": leaf.name}
    rows = connection.execute(statement("postgres/stores/written_columns"), bound)
    return sql.SQL(", ").join(sql.Identifier(name) for (name,) in rows)


def _create_index(
    connection: Connection,
    table: sql.Identifier,
    name: sql.Identifier,
    definition: str,
    constraint: str | None,
) -> None:
    if constraint:
        command = sql.SQL("alter table {} add constraint {} ").format(table, name)
        connection.execute(command + sql.SQL(constraint))
        return
    # `create [unique] index NAME on ONLY? TABLE using …`
    kind, _, rest = definition.partition(" INDEX ")
    how = rest.partition(" USING ")[2]
    command = sql.SQL(f"{kind} index {{}} on {{}} using ").format(name, table)
    connection.execute(command + sql.SQL(how))


def _swap(connection: Connection, leaf: Leaf, indexes: Sequence[str]) -> None:
    """Put the copy in the place of the table, under its name and with the names of its indexes."""
    names = {
        "parent": sql.Identifier(leaf.schema, str(leaf.parent)),
        "leaf": leaf.identifier,
        "copy": sql.Identifier(leaf.schema, leaf.copy),
        "name": sql.Identifier(leaf.name),
        "bound": sql.SQL(leaf.bound or ""),
    }
    with connection.transaction():
        connection.execute("select set_config('lock_timeout', '1s', true)")
        # From above, with all below it, as readers do.
        connection.execute(sql.SQL("lock table {parent} in access exclusive mode").format(**names))
        for command in (
            "alter table {parent} detach partition {leaf}",
            "drop table {leaf}",
            "alter table {copy} rename to {name}",
        ):
            connection.execute(sql.SQL(command).format(**names))
        for number, name in enumerate(indexes):
            old = sql.Identifier(leaf.schema, f"{leaf.copy}_{number}")
            rename = sql.SQL("alter index {} rename to {}").format(old, sql.Identifier(name))
            connection.execute(rename)
        attach = sql.SQL("alter table {parent} attach partition {leaf} {bound}")
        connection.execute(attach.format(**names))


def _patiently(connection: Connection, command: sql.Composed) -> None:
    """Execute what locks a table, and let readers that hold it go first."""
    connection.execute("select set_config('lock_timeout', '1s', false)")
    try:
        patiently(lambda: connection.execute(command), _is_held, seconds=_PATIENCE, pause=_PAUSE)
    finally:
        with suppress(psycopg.OperationalError):
            connection.execute("select set_config('lock_timeout', '0', false)")


def _is_held(error: Exception) -> bool:
    return isinstance(error, LockNotAvailable)
