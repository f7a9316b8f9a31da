"""Numbered migrations: each is applied to its store once, in order, and kept with its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ml_assets.errors import StoreError
from ml_assets.stores.sql import SQL, statements

STORES = ("postgres", "duckdb", "clickhouse", "sqlite")

_LEDGER = (
    "create table if not exists migrations (name text primary key, checksum text default '',"
    " applied_at timestamptz default current_timestamp)"
)
_LEDGER_OF = {
    "sqlite": [_LEDGER],
    # A table of the time before checksums were kept has no such column.
    "duckdb": [
        _LEDGER,
        "alter table migrations add column if not exists checksum varchar default ''",
    ],
}


@dataclass(frozen=True, slots=True)
class Migration:
    """A file of `sql/<store>/migrations`: its name without suffix, and its text."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """sha256 of the text, as 64 hex digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_migrations(store: str) -> list[Migration]:
    """Read every migration of `store`, in order.

    Raises:
        StoreError: there is none, so that the installation is not whole.
    """
    folder = SQL / store / "migrations"
    files = sorted(folder.glob("*.sql"))
    if not files:
        raise StoreError("no migrations here", where=str(folder), do="Install ml_assets again")
    return [Migration(file.stem, file.read_text(encoding="utf-8")) for file in files]


def find_pending(store: str, applied: Mapping[str, str], where: str) -> list[Migration]:
    """Return the migrations to apply to a store that has `applied`, names with their checksums.

    An empty checksum fits any text: it is of the time before checksums were kept.

    Raises:
        StoreError: one was edited after it had been applied, or is of a newer ml_assets.
    """
    migrations = {migration.name: migration for migration in read_migrations(store)}
    for name, checksum in sorted(applied.items()):
        if name not in migrations:
            raise StoreError(
                f"the tables are those of a newer ml_assets (migration {store}/{name})",
                where=where,
                do="Install that version, or set ML_ASSETS_HOME to another folder",
            )
        if checksum and checksum != migrations[name].checksum:
            raise StoreError(
                f"the migration {store}/{name} was edited after it had been applied",
                where=where,
                do="Restore its file, and write what is new into another",
            )
    return [migration for name, migration in migrations.items() if name not in applied]


def migrate(
    store: str,
    connection: Any,
    where: str,
    transaction: Callable[[Any], AbstractContextManager[None]],
) -> list[str]:
    """Apply the migrations that DuckDB or SQLite lacks, in one transaction; return their names."""
    if is_migrated(store, connection, where):
        return []
    with transaction(connection):
        for text in _LEDGER_OF[store]:
            connection.execute(text)
        # Read here: another process may have been faster.
        pending = _pending(store, connection, where)
        for migration in pending:
            for part in statements(migration.text):
                connection.execute(part)
            record = "insert into migrations (name, checksum) values (?, ?)"
            connection.execute(record, [migration.name, migration.checksum])
    return [migration.name for migration in pending]


def is_migrated(store: str, connection: Any, where: str) -> bool:
    """Whether no migration of DuckDB or SQLite is missing; nothing is written to find out."""
    ledger = connection.execute(
        "select 1 from sqlite_master where name = 'migrations' and sql like '%checksum%'"
    ).fetchall()
    return bool(ledger) and not _pending(store, connection, where)


def _pending(store: str, connection: Any, where: str) -> list[Migration]:
    rows = connection.execute("select name, checksum from migrations").fetchall()
    return find_pending(store, dict(rows), where)
