"""What is done with a running stack: it is driven as people do, and parts of it are killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ml_assets_tests.integration.project import Project, write_documents
from ml_assets_tests.servers.driving import add_line, prompt, scratch, ui_of, wait_for_rest
from ml_assets_tests.servers.postgres import find_postgres
from ml_assets_tests.servers.running import Stack, stack, start_rest
from ml_assets_tests.servers.stack import STACK
from ml_assets_tests.servers.starting import AbsentError, kill

VICTIMS = ("postgres", "redis", "chroma", "mlflow", "daemon", "code", "worker")
STAGES = (
    *("documents", "embeddings", "indexes", "evaluation", "features", "training", "promotion"),
)
OUTAGES = (5, 90)
CELLS = [f"{v}:{s}:{o}" for o in OUTAGES for v in VICTIMS for s in STAGES]
DRIVES = ("drive", "postgres-16", "postgres-18")

RANGE = {"dagster/asset_partition_range_start": "even", "dagster/asset_partition_range_end": "odd"}

Report = Callable[[str], None]


def attempt(name: str, work: Callable[[], str], report: Report) -> bool:
    """Report how a piece of work went."""
    try:
        report(f"passed  {name}: {work()}")
    except AbsentError as error:
        report(f"absent  {name}: {error}")
    except Exception as error:  # noqa: BLE001  each is reported, and the next one tried
        report(f"failed  {name}: {type(error).__name__}: {' '.join(str(error).split())}")
    else:
        return True
    return False


def whole_stack(
    root: Path,
    version: str,
    file: Path,
    names: list[str],
    report: Report,
    models: Path | None = None,
    first: str = "",
) -> None:
    """Start all servers, and do what was chosen one after the other, on one life of theirs.

    The `models` of another home need not be exported again; `first` is a cell that the first build
    meets.
    """
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
        home = root / "data" / "home"
        (home / "hold").mkdir(parents=True)
        if models:
            (home / "models").symlink_to(models)
        if first:
            hold(servers, first)
        if not attempt(
            "the stack", lambda: start_rest(servers, report) or "all is healthy", report
        ):
            return
        name = f"first build {first}".rstrip()
        if not attempt(name, partial(first_build, servers, file, first), report):
            return
        for name in names:
            work = partial(drive if name == "drive" else cell, servers, file, name)
            if not attempt(name, work, report):
                restore(servers)


def first_build(servers: Stack, file: Path, name: str) -> str:
    """Sensors and automation build all, past the cell of that name if one is given.

    A later cell has three minutes more than that takes here.
    """
    with scratch(servers, file) as finish:
        if name:
            kill_and_start(servers, name)
        seconds = wait_for_rest(servers, finish, 900)
    servers.patience += seconds
    return f"as from scratch after {seconds:.0f} s"


def drive(servers: Stack, file: Path, _: str) -> str:
    """All that a person does: prompt, UI, a new line for the sensor, questions, rollback."""
    add_line(file)
    with scratch(servers, file) as finish:
        prompt(servers, "run")
        ui_of(servers).launch("everything", RANGE)
        wait_for_rest(servers, finish, servers.patience)
    add_line(file)
    with scratch(servers, file) as finish:
        wait_for_rest(servers, finish, servers.patience)
    for words in ("search rocket", "predict bread", "status", "releases"):
        prompt(servers, *words.split())
    prompt(servers, "rollback", "--reason", "test")
    return "prompt, UI, sensor, questions, rollback"


def cell(servers: Stack, file: Path, name: str) -> str:
    """Kill one server in a stage of a run, start it after its outage, and wait for convergence."""
    hold(servers, name)
    add_line(file)
    with scratch(servers, file) as finish:
        kill_and_start(servers, name)
        seconds = wait_for_rest(servers, finish, servers.patience)
    return f"converged {seconds:.0f} s after its return"


def hold(servers: Stack, name: str) -> None:
    """The next run that comes to the stage of the cell waits there."""
    _, stage, _ = name.split(":")
    (servers.root / "data" / "home" / "hold" / stage).touch()


def kill_and_start(servers: Stack, name: str) -> None:
    """Kill the victim of a cell when a run is held in its stage; it is back after the outage."""
    victim, stage, outage = name.split(":")
    (reached,) = wait_for_file(servers.root / "data" / "home" / "hold", f"{stage}.*")
    if victim == "worker":
        kill(int(reached.suffix[1:]))
    else:
        servers.kill(victim)
    reached.unlink()
    time.sleep(int(outage))
    if victim != "worker":
        servers.start(victim)


def wait_for_file(folder: Path, pattern: str, seconds: float = 300) -> list[Path]:
    deadline = time.monotonic() + seconds
    while not (found := [*folder.glob(pattern)]):
        assert time.monotonic() < deadline, f"no run came to {pattern}"
        time.sleep(0.02)
    return found


def restore(servers: Stack) -> None:
    """Let nothing of a failed piece of work stand in the way of the next."""
    for path in (servers.root / "data" / "home" / "hold").iterdir():
        path.unlink()
    for server in STACK:
        process = servers.running.get(server.name)
        if server.health and not server.absent and (process is None or process.poll() is not None):
            servers.start(server.name)


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
