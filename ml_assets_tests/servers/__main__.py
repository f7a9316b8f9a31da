"""Start the server mode without Docker, drive it, and kill parts of it: `make test-servers`.

One line for each server and each thing tried: passed, failed, or absent and why. Names choose:
`make test-servers ONLY=drive`, `ONLY=chroma:indexes:5`, `ONLY='*:*:5'`. Logs lie in one folder,
which is kept when something failed.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from ml_assets_tests.integration.project import Project, write_documents
from ml_assets_tests.servers.driving import (
    add_line,
    prompt,
    scratch,
    ui_of,
    wait_for_rest,
)
from ml_assets_tests.servers.postgres import find_postgres
from ml_assets_tests.servers.running import POSTGRES, Stack, stack, start_rest
from ml_assets_tests.servers.starting import AbsentError, kill

VICTIMS = ("postgres", "redis", "chroma", "mlflow", "daemon", "code", "worker")
STAGES = (
    *("documents", "embeddings", "indexes", "evaluation", "features", "training", "promotion"),
)
OUTAGES = (5, 90)
CELLS = [f"{v}:{s}:{o}" for o in OUTAGES for v in VICTIMS for s in STAGES]
DRIVES = ("drive", "postgres-16", "postgres-18")

RANGE = {"dagster/asset_partition_range_start": "even", "dagster/asset_partition_range_end": "odd"}
PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Do what was chosen; return 1 if any of it failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("only", nargs="*", default=DRIVES)
    parser.add_argument("--postgres", default=POSTGRES, help="the version below the whole stack")
    arguments = parser.parse_args()
    only, version = arguments.only, arguments.postgres
    chosen = [name for name in (*DRIVES, *CELLS) if any(fnmatch(name, each) for each in only)]
    if not chosen:
        print(f"nothing is named {' '.join(only)}; there are {', '.join(DRIVES)} and {CELLS[0]}")
        return 2
    failed = []

    def report(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
        failed.extend([line] if line.startswith("failed") else [])

    with folder_and_processes(failed) as root:
        on_the_stack = [name for name in chosen if not name.startswith("postgres-")]
        if on_the_stack:
            whole_stack(root / "stack", version, on_the_stack, report)
        for name in chosen:
            if name.startswith("postgres-"):
                attempt(name, partial(other_version, root / name, name[9:]), report)
        if failed:
            print(f"the logs lie in {root}")
    return bool(failed)


def attempt(name: str, work: Callable[[], str], report: Callable[[str], None]) -> bool:
    """Report how a piece of work went."""
    try:
        report(f"passed  {name}: {work()}")
    except AbsentError as error:
        report(f"absent  {name}: {error}")
    except Exception as error:  # noqa: BLE001  each is reported, and the next one tried
        report(f"failed  {name}: {type(error).__name__}: {error}")
        return False
    return True


def whole_stack(root: Path, version: str, names: list[str], report: Callable[[str], None]) -> None:
    """Start all servers, and do what was chosen one after the other, on one life of theirs."""
    file = root / "notes.jsonl"
    root.mkdir()
    write_documents(file)
    try:
        find_postgres(version)
    except AbsentError as error:
        report(f"absent  postgres {version}: {error}; 18 stands in")
        version = "18"
    settings = {
        "ML_ASSETS_SOURCE": f"files:{file}?collection_by=shelf&metadata=shelf",
        "ML_ASSETS_RETRAIN_AFTER_LABELS": "1",
        "ML_ASSETS_ACTOR": "tester",
    }
    with stack(root, version, "ml_assets_tests.servers.location", **settings) as servers:
        report(f"passed  postgres {version} starts")
        if not attempt(
            "the stack", lambda: start_rest(servers, report) or "all is healthy", report
        ):
            return
        (root / "data" / "hold").mkdir()
        if not attempt("first build", lambda: converge(servers, file), report):
            return
        for name in names:
            work = partial(drive if name == "drive" else cell, servers, file, name)
            if not attempt(name, work, report):
                restore(servers)


def converge(servers: Stack, file: Path) -> str:
    """Whatever sensors and automation have to do is done without a hand."""
    with scratch(servers, file) as finish:
        return f"as from scratch after {wait_for_rest(servers, finish, 600):.0f} s"


def drive(servers: Stack, file: Path, _: str) -> str:
    """All that a person does: prompt, UI, a new line for the sensor, questions, rollback."""
    add_line(file)
    with scratch(servers, file) as finish:
        prompt(servers, "run")
        ui_of(servers).launch("everything", RANGE)
        wait_for_rest(servers, finish)
    add_line(file)
    converge(servers, file)
    for words in ("search rocket", "predict bread", "status", "releases"):
        prompt(servers, *words.split())
    prompt(servers, "rollback", "--reason", "test")
    return "prompt, UI, sensor, questions, rollback"


def cell(servers: Stack, file: Path, name: str) -> str:
    """Kill one server in a stage of a run, start it after its outage, and wait for convergence."""
    victim, stage, outage = name.split(":")
    held = servers.root / "data" / "hold" / stage
    add_line(file)
    held.touch()
    with scratch(servers, file) as finish:
        ui_of(servers).launch("everything", RANGE)
        (reached,) = wait_for_file(held.parent, f"{stage}.*")
        if victim == "worker":
            kill(int(reached.suffix[1:]))
        else:
            servers.kill(victim)
        reached.unlink()
        time.sleep(int(outage))
        if victim != "worker":
            servers.start(victim)
        seconds = wait_for_rest(servers, finish)
    return f"converged {seconds:.0f} s after its return"


def wait_for_file(folder: Path, pattern: str, seconds: float = 180) -> list[Path]:
    deadline = time.monotonic() + seconds
    while not (found := [*folder.glob(pattern)]):
        assert time.monotonic() < deadline, f"no run came to {pattern}"
        time.sleep(0.02)
    return found


def restore(servers: Stack) -> None:
    """Let nothing of a failed piece of work stand in the way of the next."""
    for path in (servers.root / "data" / "hold").iterdir():
        path.unlink()
    for name, server in [*servers.running.items()]:
        if server.poll() not in (None, 0):
            servers.start(name)


def other_version(root: Path, version: str) -> str:
    """A run at the prompt on another PostgreSQL, as the role of compose, and a search."""
    root.mkdir()
    file = root / "notes.jsonl"
    write_documents(file)
    source = f"files:{file}?collection_by=shelf&metadata=shelf"
    with stack(root, version, ML_ASSETS_SOURCE=source) as servers:
        where = servers.environment("code")
        only = {name: where[name] for name in ("POSTGRES_URL",)}
        project = Project(root / "home", file)
        project.call("run", **only)
        assert "bread" in project.call("search", "bread", **only)
        ((said,),) = servers.rows("ml_assets", "show server_version")
    return f"run and search on {said}"


@contextmanager
def folder_and_processes(failed: list[str]) -> Iterator[Path]:
    """A folder for all that is written; whatever was started, even by what died, ends with it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans become our children
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    root = Path(tempfile.mkdtemp(prefix="ml_assets-servers-"))
    root.chmod(0o755)
    try:
        yield root
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the end is near, and in order
        for child in psutil.Process().children():
            kill(child.pid)
        if not failed:
            shutil.rmtree(root, ignore_errors=True)


def interrupt(*_: Any) -> None:
    """The first one ends the work; another must not end the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
