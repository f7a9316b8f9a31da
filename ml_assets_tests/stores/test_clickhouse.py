"""ClickHouse: migrated once, one process at a time, and clear errors."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from ml_assets.errors import OutageError, StoreError
from ml_assets.stores import clickhouse
from ml_assets_tests.servers import clickhouse_over_http

HOLD = """
import sys
from pathlib import Path
from ml_assets.stores import clickhouse
with clickhouse.connect(None, Path(sys.argv[1])) as client:
    print("open", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database on a ClickHouse server, if the program is installed."""
    with clickhouse_over_http(tmp_path_factory.mktemp("clickhouse")) as url:
        yield f"{url}/ml_assets_test"


def contract(url: str | None, home: Path) -> None:
    with clickhouse.connect(url, home) as client:
        assert clickhouse.migrate(client) == []
        for _ in range(2):
            client.insert("training_metrics", [["run", 0.5]], ["run_id", "value"])
    with clickhouse.connect(url, home) as client:
        found = client.query(
            "select value from training_metrics final where run_id = {run:String}",
            parameters={"run": "run"},
        )
        assert found.result_rows == [(0.5,)]


def test_a_row_written_twice_is_one_and_stays(tmp_path: Path) -> None:
    contract(None, tmp_path)


def test_a_server_keeps_the_same_contract(server: str, tmp_path: Path) -> None:
    contract(server, tmp_path)


def test_a_second_process_waits_and_is_told_who_is_in_the_way(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "open\n"
        started = time.monotonic()
        with (
            pytest.raises(StoreError, match=rf"held by another process \(PID {holder.pid}\)"),
            clickhouse.connect(None, tmp_path, patience=0.5),
        ):
            pass
        assert time.monotonic() - started < 10
        holder.stdin.write("\n")
        holder.stdin.flush()
        with clickhouse.connect(None, tmp_path) as client:
            assert client.command("select 1") == 1
    assert (tmp_path / "chdb" / ".holder.pid").read_text() == str(os.getpid())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://user:secret@127.0.0.1:1/metrics", "CLICKHOUSE_URL: .*refused"),
        ("nonsense", "CLICKHOUSE_URL: not a ClickHouse URL"),
        ("http://127.0.0.1:1/x;drop", "not a name of a database"),
    ],
)
def test_a_server_that_does_not_answer_is_named_without_its_password(
    url: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match=message) as raised, clickhouse.connect(url, tmp_path):
        pass
    assert "secret" not in str(raised.value)


def test_what_the_embedded_store_refuses_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"chdb: Code: 60.*or set CLICKHOUSE_URL") as raised,
        clickhouse.connect(None, tmp_path) as client,
    ):
        client.query("select * from nowhere")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "kind", "do"),
    [
        (DatabaseError("no", code=497), StoreError, "Grant the user what it lacks"),
        (DatabaseError("no", code=164), StoreError, "not read-only"),
        (DatabaseError("no", code=243), StoreError, "Make space on its disk"),
        (DatabaseError("no", code=60), StoreError, "Look into the log of the server"),
        (DatabaseError("(AUTHENTICATION_FAILED)", code=516), StoreError, "Check user and password"),
        (OperationalError("refused"), OutageError, "Check that the server is up"),
        (OperationalError("retried", code=202), StoreError, "when less is asked of it"),
    ],
)
def test_what_a_server_refuses_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[StoreError],
    do: str,
) -> None:
    folder = tmp_path / "chdb"
    monkeypatch.setattr(clickhouse, "_open_server", lambda url: clickhouse._open_embedded(folder))
    with (
        pytest.raises(StoreError, match=f"^CLICKHOUSE_URL: .*{do}") as raised,
        clickhouse.connect("http://x", tmp_path),
    ):
        raise error
    assert type(raised.value) is kind


def test_who_may_not_create_a_database_uses_the_one_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import clickhouse_connect

    there = {"old"}

    class Restricted(ExitStack):
        def command(self, text: str) -> int:
            if text.startswith("create"):
                raise DatabaseError("Not enough privileges. (ACCESS_DENIED)", code=497)
            return int(text.split("`")[1] in there)

    monkeypatch.setattr(clickhouse_connect, "get_client", lambda **_: Restricted())
    assert clickhouse._open_server("http://x/old")
    with pytest.raises(StoreError, match="Grant the user what it lacks, on the database"):
        clickhouse._open_server("http://x/new")


def test_a_folder_that_could_not_be_opened_whole_is_let_go(tmp_path: Path) -> None:
    holder = tmp_path / "chdb" / ".holder.pid"
    holder.mkdir(parents=True)
    with pytest.raises(StoreError, match="Is a directory"), clickhouse.connect(None, tmp_path):
        pass
    holder.rmdir()
    script = HOLD.replace("(None, Path(sys.argv[1]))", "(None, Path(sys.argv[1]), patience=0.5)")
    words = [sys.executable, "-c", script, str(tmp_path)]
    other = subprocess.run(words, input="\n", capture_output=True, text=True, check=False)
    assert other.stdout == "open\n", other.stderr


def test_to_read_changes_no_file(tmp_path: Path) -> None:
    """By size and time of those that are not hidden a run tells whether somebody wrote."""

    def files() -> dict[str, tuple[int, int]]:
        found = [file for file in (tmp_path / "chdb").rglob("[!.]*") if file.is_file()]
        return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in found}

    with clickhouse.connect(None, tmp_path) as client:
        client.command("alter table migrations drop column checksum")  # of before it was kept
    with clickhouse.connect(None, tmp_path) as client:
        assert "checksum" in str(client.query("describe table migrations").result_rows)
    before = files()
    with clickhouse.connect(None, tmp_path) as client:
        assert client.query("select count() from prediction_log").result_rows == [(0,)]
    assert before
    assert files() == before


def test_a_mark_tells_writes_and_no_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "chdb"
    monkeypatch.setattr(clickhouse, "_open_server", lambda url: clickhouse._open_embedded(folder))

    def after(*commands: str) -> str:
        with clickhouse.connect(None, tmp_path) as client:
            for command in commands:
                client.command(command)
        return clickhouse.mark("http://x")

    row = "insert into training_metrics (run_id, value) values ('run', {})"
    marks = [after(), after(row.format(1)), after(row.format(2))]
    assert after("optimize table training_metrics final") == marks[-1]
    change = "alter table training_metrics update value = 3 where 1 settings mutations_sync = 2"
    marks.append(after(change))
    assert len({*marks}) == 4
    assert after("truncate table training_metrics") == marks[0]
