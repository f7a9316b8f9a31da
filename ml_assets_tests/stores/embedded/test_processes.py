"""Every way in which a server and its users can be killed, damaged or raced."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ml_assets.errors import StoreError
from ml_assets.stores import postgres
from ml_assets.stores.file_locks import is_locked, wait_for
from ml_assets_tests.stores.embedded.homes import (
    ANSWER,
    User,
    count,
    is_running,
    kill_server,
    postmaster,
)

DAMAGE = {
    "empty": "",
    "cut": "123",
    "no number": "x\ny\n",
    "of another program": f"{os.getpid()}\n/somewhere\n1\n5432\n/tmp\n\n1 1\nready\n",
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("kill", [True, False], ids=["killed", "alive"])
def test_a_damaged_pid_file_is_of_no_consequence(home: Path, content: str, kill: bool) -> None:
    user = User(home)
    assert user.answer() == ANSWER
    if kill:
        kill_server(home)
    (home / "postgres" / "postmaster.pid").write_text(content)
    assert count(home) == 0
    assert user.again() == ANSWER
    assert user.end() == ""


@pytest.mark.parametrize("content", ["", "12", "no number"])
@pytest.mark.parametrize("name", ["server", "users", "lock"])
def test_half_written_bookkeeping_is_of_no_consequence(home: Path, name: str, content: str) -> None:
    (home / f"postgres.{name}").write_text(content)
    assert count(home) == 0


def test_a_long_lived_process_survives_its_server(home: Path) -> None:
    for _ in range(3):
        assert count(home) == 0
        kill_server(home)
    assert count(home) == 0


def test_a_zombie_is_no_server(home: Path) -> None:
    library, become_subreaper = ctypes.CDLL(None), 36
    library.prctl(become_subreaper, 1, 0, 0, 0)  # orphans are ours now, and we reap none
    try:
        assert count(home) == 0
        first = postmaster(home)
        kill_server(home)
        assert count(home) == 0
        assert Path(f"/proc/{first}/stat").read_text().split()[2] == "Z"
        assert postmaster(home) != first
        postgres.stop(home)
    finally:
        library.prctl(become_subreaper, 0, 0, 0, 0)
    for process in (first, postmaster(home)):
        os.waitpid(process, 0)


def test_the_last_process_that_leaves_stops_the_server(home: Path) -> None:
    first, second = User(home), User(home)
    assert first.answer() == second.answer() == ANSWER
    assert first.end() == ""
    assert is_running(home)
    assert second.end() == ""
    assert not is_running(home)


def test_a_killed_process_is_not_counted(home: Path) -> None:
    killed, last = User(home), User(home)
    assert killed.answer() == last.answer() == ANSWER
    killed.process.kill()
    killed.end()
    assert is_running(home)
    assert last.end() == ""
    assert not is_running(home)


def test_processes_that_come_and_go_never_miss_the_server(home: Path) -> None:
    for _ in range(5):
        users = [User(home) for _ in range(4)]
        errors = [user.end() for user in users]
        assert errors == [""] * 4
    assert not is_running(home)


def test_processes_that_open_a_new_home_at_once_all_succeed(tmp_path: Path) -> None:
    users = [User(tmp_path / "new") for _ in range(3)]
    assert [user.answer() for user in users] == [ANSWER] * 3, [user.end() for user in users]
    assert [user.end() for user in users] == [""] * 3
    assert not is_running(tmp_path / "new")


def test_a_first_start_killed_at_any_time_is_made_good(tmp_path: Path) -> None:
    home = tmp_path / "new"
    for delay in (0.3, 0.7, 1.2, 1.8):
        user = User(home)
        time.sleep(delay)
        user.process.kill()
        user.end()
    assert count(home) == 0
    postgres.stop(home)
    assert not is_running(home)
    assert not (home / "postgres.new").exists()


def test_a_start_waits_for_the_initdb_that_a_killed_one_left_behind(tmp_path: Path) -> None:
    home = tmp_path / "new"
    user = User(home)
    assert wait_for((home / "postgres.new" / "PG_VERSION").exists, 60)
    initdb = [pid for pid in _processes() if _works_in(pid, home / "postgres.new")]
    for pid in initdb:
        with suppress(ProcessLookupError):  # it starts others, which are done soon
            os.kill(pid, signal.SIGSTOP)
    user.process.kill()
    user.end()
    assert is_locked(home / "postgres.lock")
    for pid in initdb:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert count(home) == 0


def test_a_server_whose_starter_was_killed_is_stopped_by_its_last_user(home: Path) -> None:
    user = User(home)
    assert wait_for(lambda: is_running(home), 60)
    user.process.kill()
    user.end()
    assert count(home) == 0
    postgres.stop(home)
    assert not is_running(home)


def _processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal()]


def _works_in(pid: int, folder: Path) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    return False


FULL = """
import resource, signal, sys
from pathlib import Path
from ml_assets.errors import StoreError
from ml_assets.stores import postgres
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    postgres.server_url(None, Path(sys.argv[1]))
except StoreError as error:
    print(error)
"""


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    home = tmp_path / "new"
    command = [sys.executable, "-c", FULL, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith(f"{home / 'postgres'}: the embedded PostgreSQL does not start (")
    assert done.stdout.count("\n") == 1
    assert not (home / "postgres.new").exists()


def test_a_lost_file_is_named_in_the_servers_own_words(copied: Path) -> None:
    home = copied
    (home / "postgres" / "global" / "pg_control").unlink()
    with pytest.raises(StoreError, match=r"does not start \(.*pg_control") as raised:
        postgres.server_url(None, home)
    assert str(home / "postgres.log") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_fork_of_a_user_is_a_user(home: Path) -> None:
    assert count(home) == 0
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # until the parent has left
        os._exit(0)
    postgres.stop(home)
    assert is_running(home)
    os.close(write)
    os.waitpid(child, 0)
    assert count(home) == 0
