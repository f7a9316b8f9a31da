import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb as library
import pytest

from ml_assets.errors import StoreError
from ml_assets.stores import duckdb, migrations
from ml_assets.stores.migrations import Migration, read_migrations

HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the file until it gets a line."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_new_file_is_migrated_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "offline.duckdb"
    names = [one.name for one in read_migrations("duckdb")]
    with duckdb.connect(path) as connection:
        recorded = connection.execute("select name from migrations order by name").fetchall()
        assert recorded == [(name,) for name in names]
        assert migrations.is_migrated("duckdb", connection, str(path))


def test_a_migration_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [Migration(name, "create table first (a int)") for name in "12"]
    monkeypatch.setattr("ml_assets.stores.migrations.read_migrations", lambda _: steps)
    path = tmp_path / "a.duckdb"
    with pytest.raises(library.CatalogException), duckdb.connect(path):
        pass
    with library.connect(str(path)) as connection:
        assert connection.execute("show tables").fetchall() == []
    steps.pop()
    with duckdb.connect(path) as migrated:
        assert migrated.execute("show tables").fetchall() == [("first",), ("migrations",)]


def test_the_file_is_closed_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with pytest.raises(ZeroDivisionError), duckdb.connect(path):
        _ = 1 / 0
    holder = hold(path)
    holder.communicate("\n")
    assert holder.returncode == 0


def test_reading_makes_a_missing_file_and_refuses_to_write(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with duckdb.connect(path, read_only=True) as connection:
        assert connection.execute("select count(*) from feature_states").fetchall() == [(0,)]
        with pytest.raises(library.InvalidInputException, match="read-only"):
            connection.execute("delete from feature_states")


def test_a_held_file_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    holder = hold(path)
    try:
        with pytest.raises(StoreError) as raised, duckdb.connect(path, patience=0.1):
            pass
    finally:
        holder.communicate("\n")
    assert f"PID {holder.pid}" in str(raised.value)
    assert str(path) in str(raised.value)
    assert "DUCKDB_PATH" in str(raised.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be in another container")
def test_a_file_that_another_container_holds_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    holder = hold(path)
    script = """
import sys
from pathlib import Path
from ml_assets.errors import StoreError
from ml_assets.stores import duckdb
try:
    with duckdb.connect(Path(sys.argv[1]), patience=float(sys.argv[2])):
        print("opened")
except StoreError as error:
    print(error)
"""
    contained = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script]
    try:
        done = subprocess.run([*contained, path, "0.1"], capture_output=True, text=True, check=True)
        assert "held by another process, in another container, for more than 0.1 s" in done.stdout
        waiting = subprocess.Popen([*contained, path, "30"], stdout=subprocess.PIPE, text=True)
        time.sleep(1)
    finally:
        holder.communicate("\n")
    assert waiting.communicate(timeout=60)[0] == "opened\n"


def test_a_file_that_is_let_go_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    script = HOLD.replace("input()", "import time; time.sleep(0.5); c.close()")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with duckdb.connect(path, patience=20) as connection:
            assert connection.execute("select 1").fetchall() == [(1,)]


def test_reading_and_writing_at_once_in_one_process_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with (
        duckdb.connect(path),
        pytest.raises(StoreError, match="another mode"),
        duckdb.connect(path, read_only=True, patience=0.05),
    ):
        pass


@pytest.mark.parametrize("name", ["damaged.duckdb", "folder"])
def test_what_is_no_duckdb_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "damaged.duckdb").write_bytes(b"hello" * 1000)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match=name), duckdb.connect(tmp_path / name):
        pass


FILL = """
import resource, signal, sys
from pathlib import Path
from ml_assets.errors import StoreError
from ml_assets.stores import duckdb, migrations
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
with duckdb.connect(path):
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, 2**21))
try:
    with duckdb.connect(path) as connection:
        connection.execute("create table big as select uuid() from range(1000000)")
        connection.execute("checkpoint")
except StoreError as error:
    print(error)
"""


def test_a_full_disk_is_a_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith(f"{path}: the DuckDB file cannot be used ("), done.stderr
    with duckdb.connect(path) as connection:
        assert connection.execute("from feature_states").fetchall() == []


def write_and_fail(connection: duckdb.Connection) -> None:
    with duckdb.transaction(connection):
        connection.execute("insert into feature_inputs values ('v', 'x', 'h')")
        raise InterruptedError


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        with pytest.raises(InterruptedError):
            write_and_fail(connection)
        assert connection.execute("from feature_inputs").fetchall() == []
        with duckdb.transaction(connection):
            connection.execute("insert into feature_inputs values ('v', 'x', 'h')")
        assert connection.execute("from feature_inputs").fetchall() == [("v", "x", "h")]
