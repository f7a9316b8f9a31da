"""Other people's machines: terminals that are not UTF-8, homes that are not there, old records."""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ml_assets.stores.file_locks import is_locked
from ml_assets_tests.integration.project import Project, write_documents


@pytest.fixture
def nowhere(tmp_path: Path) -> Project:
    """A project whose home is not there."""
    project = Project(tmp_path / "deep" / "home", tmp_path / "notes.jsonl")
    write_documents(project.file, per_topic=5)
    return project


@pytest.mark.parametrize(
    "arguments", ["search x", "predict x", "history x", "releases", "search-generations"]
)
def test_to_ask_makes_no_home(nowhere: Project, arguments: str) -> None:
    refusal = nowhere.call(*arguments.split(), code=1)
    assert refusal == f"Error {nowhere.home}: nothing was run here yet. Run `ml-assets run`\n"
    assert not nowhere.home.parent.exists()


def test_what_can_be_answered_without_a_home_is(nowhere: Project) -> None:
    status = nowhere.json("status")
    assert (status["home"], status["documents"], status["last_runs"]) == (str(nowhere.home), 0, [])
    assert nowhere.json("plan")["documents"]["added"] == 20
    assert not nowhere.home.parent.exists()


@pytest.mark.parametrize(
    "terminal",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LANG": "xx_YY.UTF-8", "PYTHONIOENCODING": "ascii"},
    ],
)
def test_what_a_terminal_cannot_show_is_replaced(
    nowhere: Project, terminal: dict[str, str]
) -> None:
    failed = nowhere.call("run", code=1, ML_ASSETS_SOURCE="files:/nowhere/x.csv", **terminal)
    assert failed.startswith("ml-assets run: files:/nowhere/x.csv ")
    assert "Traceback" not in failed
    assert failed.count("\nError ") == 1


@pytest.mark.parametrize("command", ["history", "search", "predict"])
def test_an_argument_that_is_not_utf8_is_one_line(nowhere: Project, command: str) -> None:
    program = [sys.executable, "-m", "ml_assets.cli", command]
    done = subprocess.run(
        [*(part.encode() for part in program), b"caf\xe9"],
        env=nowhere.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        r"Error argument: 'caf\udce9' is not in utf-8, as the locale says."
    )
    assert done.stderr.count("\n") == 1


def test_a_url_in_words_is_refused_at_once(nowhere: Project) -> None:
    refusal = nowhere.call("run", code=1, POSTGRES_URL="host=/tmp dbname=x password=tests-only")
    assert refusal.startswith("Error POSTGRES_URL: it is not a URL")
    assert "tests-only" not in refusal


def test_records_of_an_older_dagster_are_migrated(nowhere: Project, exported_models: Path) -> None:
    nowhere.home.mkdir(parents=True)
    (nowhere.home / "models").symlink_to(exported_models)
    nowhere.call("run", code=1, ML_ASSETS_SOURCE="files:/nowhere.csv")
    nowhere.json("status")  # makes the records
    records = nowhere.home / "dagster" / "history" / "runs" / "index.db"
    with sqlite3.connect(records) as connection:
        connection.execute("drop table asset_check_executions")
        connection.execute("update alembic_version set version_num = '5771160a95ad'")
    told = nowhere.call("run", "--until", "documents", code=1)
    assert "Dagster's records were of an older version" in told
    assert told.count("Run again") == 1
    assert "Traceback" not in told
    nowhere.call("run", "--until", "documents")


def test_two_interrupts_leave_neither_noise_nor_a_server(nowhere: Project) -> None:
    process = nowhere.start("run", "--until", "documents")
    server = nowhere.home / "postgres.server"
    while not (server.exists() and is_locked(server)):
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    # A shell shows 130 for both: that it exited so, and that the second ended what was left of it.
    assert process.returncode in (130, -signal.SIGINT), err
    assert err == "Interrupted. What was committed is kept; run again to go on.\n"
    assert not is_locked(server)


def test_all_that_a_run_writes_is_for_its_owner_alone(nowhere: Project) -> None:
    nowhere.home.mkdir(parents=True, mode=0o755)
    nowhere.call("run", "--until", "documents")
    open_to_others = [
        path
        for path in (nowhere.home, *nowhere.home.rglob("*"))
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    ]
    assert open_to_others == []
    assert nowhere.home.stat().st_mode & 0o777 == 0o700
