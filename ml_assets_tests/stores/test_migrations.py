"""What holds for the migrations of every store: applied once, unedited, and never a newer one's."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from ml_assets.errors import RoleError, StoreError
from ml_assets.releases.audit import read_entries, verify
from ml_assets.releases.roles import grant
from ml_assets.settings import Settings
from ml_assets.stores import clickhouse, duckdb, migrations, postgres
from ml_assets.stores.__main__ import migrate_all
from ml_assets.stores.migrations import STORES, read_migrations
from ml_assets.stores.online import sqlite
from ml_assets.stores.postgres import migration
from ml_assets.stores.sql import SQL

Migrate = Callable[[], list[str]]

NEW = {
    "postgres": "create table later (a int)",
    "duckdb": "create table later (a int)",
    "clickhouse": "create table if not exists later (a Int8) engine = MergeTree order by a",
    "sqlite": "create table later (a int)",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that a test may change."""
    copy = tmp_path / "sql"
    for store in STORES:
        shutil.copytree(SQL / store / "migrations", copy / store / "migrations")
    monkeypatch.setattr(migrations, "SQL", copy)
    return copy


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def migrate(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Migrate]:
    """Migrates the store, which is open and migrated, once more."""
    with ExitStack() as stack:
        if store == "postgres":
            connection = request.getfixturevalue("connection")
            yield lambda: migration.migrate(connection, "here")
        elif store == "duckdb":
            database = stack.enter_context(duckdb.connect(tmp_path / "a.duckdb"))
            yield lambda: migrations.migrate("duckdb", database, "here", duckdb.transaction)
        elif store == "clickhouse":
            client = stack.enter_context(clickhouse.connect(None, tmp_path))
            yield lambda: clickhouse.migrate(client, "here")
        else:
            file = stack.enter_context(
                closing(sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None))
            )
            again = partial(migrations.migrate, store, file, "here", sqlite.transaction)
            assert again() == [each.name for each in read_migrations(store)]
            yield again


def test_what_is_new_is_applied_once(store: str, folder: Path, migrate: Migrate) -> None:
    assert migrate() == []
    (folder / store / "migrations" / "999_later.sql").write_text(NEW[store])
    assert migrate() == ["999_later"]
    assert migrate() == []


def test_a_migration_is_logged_and_takes_an_admin(
    folder: Path, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "postgres" / "migrations" / "998_later.sql").write_text(NEW["postgres"])
    monkeypatch.setenv("ML_ASSETS_ACTOR", "ann")
    migration.migrate(connection, "here")
    grant(connection, "bob", "admin", "ann")
    (folder / "duckdb" / "migrations" / "999_later.sql").write_text(NEW["duckdb"])
    with pytest.raises(RoleError, match="'ann' may not migrate the tables: that takes an admin"):
        migration.migrate(connection, "here")
    monkeypatch.setenv("ML_ASSETS_ACTOR", "bob")
    migration.migrate(connection, "here")
    told = [(each.actor, each.action, each.details) for each in read_entries(connection, 9)]
    assert told[0] == ("ann", "migrate", {"migrations": ["postgres/998_later"]})
    assert told[2:] == [
        ("ann", "deny", {"action": "migrate"}),
        ("bob", "migrate", {"migrations": ["duckdb/999_later"]}),
    ]
    assert verify(connection) is None


def test_tables_of_a_newer_version_are_refused(store: str, folder: Path, migrate: Migrate) -> None:
    file = folder / store / "migrations" / "999_later.sql"
    file.write_text(NEW[store])
    migrate()
    file.rename(file.with_name("998_other.sql"))
    message = refusal(migrate)
    assert message.startswith("here: the tables are those of a newer ml_assets")
    assert f"{store}/999_later" in message
    assert "Install that version" in message


def test_an_edited_migration_is_refused(store: str, folder: Path, migrate: Migrate) -> None:
    first = min((folder / store / "migrations").iterdir())
    first.write_text(first.read_text() + "\n-- Nothing but a comment.\n")
    assert f"{store}/{first.stem} was edited" in refusal(migrate)


def test_a_store_without_migrations_is_an_error(store: str, folder: Path, migrate: Migrate) -> None:
    shutil.rmtree(folder / store / "migrations")
    assert "no migrations here. Install ml_assets again" in refusal(migrate)


def refusal(migrate: Migrate) -> str:
    with pytest.raises(StoreError) as caught:
        migrate()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("other", ["duckdb", "clickhouse", "sqlite"])
def test_postgres_refuses_what_is_newer_in_another_store(
    other: str, folder: Path, connection: postgres.Connection
) -> None:
    """It is opened first, so that nothing is written to the stores that are not newer."""
    file = folder / other / "migrations" / "999_later.sql"
    file.write_text(NEW[other])
    assert migration.migrate(connection, "here") == []
    file.unlink()
    assert f"{other}/999_later" in refusal(lambda: migration.migrate(connection, "here"))


def test_tables_of_before_checksums_were_kept_go_on(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "a.duckdb"
    with duckdb.connect(path) as database:
        database.execute("alter table migrations drop column checksum")
    first = min((folder / "duckdb" / "migrations").iterdir())
    first.write_text(first.read_text() + "\n-- Nothing but a comment.\n")
    with duckdb.connect(path, read_only=True) as database:
        rows = database.execute("select name, checksum from migrations order by name").fetchall()
    assert rows == [(one.name, "") for one in read_migrations("duckdb")]


def test_all_stores_can_be_migrated_in_one_step(settings: Settings) -> None:
    assert migrate_all(settings) == [
        f"{store}: {len(read_migrations(store))} migrations in place" for store in STORES
    ]
