"""What is the file's own."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ml_assets.errors import StoreError
from ml_assets.stores import online
from ml_assets.stores.online import Row
from ml_assets.stores.online.sqlite import transaction
from ml_assets_tests.stores.online.opening import A, B


def test_a_file_of_the_time_before_builds_is_read(tmp_path: Path) -> None:
    script = Path(online.__file__).parents[3] / "sql/sqlite/migrations/001_online.sql"
    checksum = hashlib.sha256(script.read_bytes()).hexdigest()
    with closing(sqlite3.connect(tmp_path / "online.sqlite")) as connection, connection:
        connection.executescript(script.read_text())
        connection.execute(
            "create table migrations (name text primary key, checksum text default '',"
            " applied_at timestamptz default current_timestamp)"
        )
        connection.execute(
            "insert into migrations (name, checksum) values (?, ?)", ["001_online", checksum]
        )
        connection.executemany(
            "insert into online_features values (?, ?, ?, ?)",
            [
                ("view_v1", "a", "1", '{"count": 3, "share": 0.30000000000000004}'),
                ("view_v1", "b", "2", "not JSON"),
                ("view_v2", "a", "1", '{"n": null}'),
            ],
        )
        connection.execute("insert into cache values ('k', 'v', 1)")
    with online.connect(None, tmp_path) as store:
        assert store.views() == ["view_v1", "view_v2"]
        assert store.get_rows("view_v1", ["a", "b"]) == {
            "a": Row({"count": 3, "share": 0.1 + 0.2}, "1")
        }
        assert store.revisions("view_v1") == {"a": "1", "b": "2"}
        store.put_many("view_v2", {"b": B})
        assert store.get_rows("view_v2", ["a", "b"]) == {"a": Row({"n": None}, "1"), "b": B}
        store.replace("view_v1", [{"a": A}], 1)
        assert store.get_rows("view_v1", ["a", "b"]) == {"a": A}


def test_a_file_that_is_no_database_is_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "online.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"online\.sqlite"), online.connect(None, tmp_path):
        pass


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    with (
        online.connect(None, tmp_path) as writer,
        online.connect(None, tmp_path) as reader,
        closing(sqlite3.connect(tmp_path / "online.sqlite", isolation_level=None)) as connection,
    ):
        writer.put_many("view_v1", {"a": A})
        with transaction(connection):
            assert reader.get_rows("view_v1", ["a"]) == {"a": A}


def test_pages_of_a_large_view_are_kept_between_reads(tmp_path: Path) -> None:
    """SQLite keeps 2 MiB of its own accord: most reads of 100,000 entities went to the file."""
    with online.connect(None, tmp_path) as store:
        connection = store._connection  # type: ignore[attr-defined]
        assert connection.execute("pragma cache_size").fetchall() == [(-32 * 1024,)]
