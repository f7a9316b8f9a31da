"""A home at any path, copied, moved, or of another version or machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from ml_assets.errors import StoreError
from ml_assets.stores import postgres
from ml_assets.stores.postgres.embedded import as_account
from ml_assets.stores.postgres.programs import binaries
from ml_assets_tests.stores.embedded.homes import (
    ANSWER,
    User,
    copy,
    count,
    is_running,
    postmaster,
)


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "it's",
        'say "x"',
        "100%20",
        "größe 数据",
        "a,b=c?d#e&f",
        "x" * 200,
        "line\nend",
        "$HOME `x`",
    ],
)
def test_a_home_can_lie_at_any_path(shared: Path, tmp_path: Path, name: str) -> None:
    home = shared.rename(tmp_path / name)
    assert count(home) == 0
    # As MLflow does it, with another driver and a database of its own.
    url = postgres.server_url(None, home, "mlflow").replace("postgresql", "postgresql+psycopg2")
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(text("select current_database()")).scalar() == "mlflow"
    engine.dispose()
    postgres.stop(home)
    assert not is_running(home)
    home.rename(shared)


def test_a_copy_of_a_home_in_use_has_a_server_of_its_own(home: Path, tmp_path: Path) -> None:
    with postgres.connect(None, home) as connection:
        connection.execute("create table mine ()")
        connection.execute("checkpoint")
        twin = copy(home, tmp_path / "twin")
        with postgres.connect(None, twin) as other:
            other.execute("create table theirs ()")
            other.execute("drop table mine")
        assert postmaster(twin) != postmaster(home)
        postgres.stop(twin)
        assert not is_running(twin)
        assert connection.execute("select count(*) from mine").fetchall() == [(0,)]
        assert connection.execute("select to_regclass('theirs')").fetchall() == [(None,)]


def test_a_home_that_is_moved_while_it_is_used_keeps_its_server(home: Path) -> None:
    assert count(home) == 0
    before = postmaster(home)
    moved = home.rename(home.with_name("moved"))
    user = User(moved)
    assert user.answer() == ANSWER, user.end()
    assert postmaster(moved) == before
    user.end()
    moved.rename(home)
    assert count(home) == 0


def test_a_home_that_is_removed_and_made_again_is_a_new_one(shared: Path, copied: Path) -> None:
    home = copied
    with postgres.connect(None, home) as connection:
        connection.execute("create table before ()")
    old = postmaster(home)
    shutil.rmtree(home)
    copy(shared, home)
    try:
        with postgres.connect(None, home) as connection:
            assert connection.execute("select to_regclass('before')").fetchall() == [(None,)]
        assert postmaster(home) != old
    finally:
        os.kill(old, signal.SIGKILL)


@pytest.mark.parametrize("setting", ["LANG", "LC_ALL"])
def test_a_locale_that_is_not_installed_is_no_obstacle(tmp_path: Path, setting: str) -> None:
    user = User(tmp_path / "new", env={**os.environ, setting: "xx_YY.UTF-8"})
    assert user.answer() == ANSWER, user.end()
    assert user.end() == ""


def test_settings_of_other_postgres_programs_reach_neither_side(home: Path) -> None:
    environment = {
        "PGPORT": "1",
        "PGDATA": "/nowhere",
        "PGUSER": "x",
        "PGHOST": "x",
        "PGDATABASE": "x",
        "PGPASSWORD": "x",
        "PGPASSFILE": "/nowhere",
    }
    user = User(home, env={**os.environ, **environment})
    assert user.answer() == ANSWER, user.end()
    assert user.end() == ""


def test_a_home_that_gets_the_url_of_an_earlier_one_is_migrated(tmp_path: Path) -> None:
    urls = []
    for name in ("first", "second"):
        home = tmp_path / f"{name} {'x' * 120}"
        urls.append(postgres.server_url(None, home))
        with postgres.connect(urls[-1], home) as connection:
            assert connection.execute("select count(*) from documents").fetchone() == (0,)
        postgres.stop(home)
    assert urls[0] == urls[1]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A home as versions before this module made it: open to all, with a list of process ids."""
    home = tmp_path / "old"
    data = home / "postgres"
    data.mkdir(parents=True)
    home.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(data, "nobody", "nogroup")
    command = [binaries() / "initdb", "-D", "/proc/self/cwd", "-U", "postgres", "--auth=trust"]
    data.chmod(0o700)
    subprocess.run(
        [*command, "-E", "utf8"], **as_account(data), check=True, stdout=subprocess.DEVNULL
    )
    (data / ".handle_pids.json").write_text("[1, 2")
    (home / "offline.duckdb").touch(mode=0o644)
    return home


def test_a_home_of_an_older_version_goes_on_and_is_closed(old: Path) -> None:
    assert count(old) == 0
    postgres.stop(old)
    assert old.stat().st_mode & 0o777 == 0o700
    assert (old / "offline.duckdb").stat().st_mode & 0o777 == 0o600
    assert "trust" not in (old / "postgres" / "pg_hba.conf").read_text()
    assert not is_running(old)


def test_a_server_of_an_older_version_is_named_and_left_alone(old: Path) -> None:
    data = old / "postgres"
    command = [binaries() / "postgres", "-D", "/proc/self/cwd", "-h", "", "-k", "."]
    server = subprocess.Popen(command, **as_account(data), stderr=subprocess.DEVNULL)
    try:
        pid_file = data / "postmaster.pid"
        while not (pid_file.exists() and "ready" in pid_file.read_text()):
            time.sleep(0.01)
        with pytest.raises(StoreError, match=rf"PID {server.pid}\).*kill -INT"):
            postgres.server_url(None, old)
        assert (data / "postmaster.pid").exists()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
    assert count(old) == 0
    postgres.stop(old)


def test_the_url_is_for_psycopg_too(home: Path) -> None:
    with psycopg.connect(postgres.server_url(None, home)) as connection:
        assert connection.execute("select current_user").fetchall() == [("postgres",)]
