"""What is done with a running stack: it is driven as people do, and parts of it are killed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from ml_assets_tests.defs.ticking import World
from ml_assets_tests.integration.project import Project, write_documents
from ml_assets_tests.servers.connections import counted
from ml_assets_tests.servers.driving import (
    add_line,
    let_rest,
    prompt,
    scratch,
    ui_of,
    wait_until_equal,
)
from ml_assets_tests.servers.engines import ENGINES
from ml_assets_tests.servers.hosts import drive_hosts
from ml_assets_tests.servers.postgres import find_postgres
from ml_assets_tests.servers.running import Stack, stack, start_rest
from ml_assets_tests.servers.stack import STACK
from ml_assets_tests.servers.starting import AbsentError, kill

VICTIMS = ("postgres", "redis", "chroma", "mlflow", "daemon", "code", "worker")
RUNS = (
    ("starting", "documents", "embeddings"),
    ("indexes", "evaluation"),
    ("features", "training", "promotion"),
)
"""The stages of the three runs that an update takes, in their order."""

STAGES = tuple(stage for run in RUNS for stage in run if stage != "starting")
OUTAGES = (5, 90)
CELLS = [f"{v}:{s}:{o}" for o in OUTAGES for v in VICTIMS for s in STAGES]
CELLS += ["worker:starting:5", "code:starting:5"]
"""A code server is killed with the workers that it launched."""

DRIVES = (
    *("drive", "hosts", "hosts-on-servers", "ticks", "postgres-16", "postgres-18"),
    *ENGINES,
)
ON_THE_STACK = ("drive", *CELLS)

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
    first: Sequence[str] = (),
) -> None:
    """Start all servers, and do what was chosen one after the other, on one life of theirs.

    The `models` of another home need not be exported again; `first` are the cells that the first
    build meets, each in a run of its own.
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
        for name in first:
            hold(servers, name)
        if not attempt(
            "the stack", lambda: start_rest(servers, report) or "all is healthy", report
        ):
            return
        name = " ".join(["first build", *first])
        if not attempt(name, partial(first_build, servers, file, first), report):
            return
        for name in set(names) & {"drive"}:
            let_rest(servers)
            attempt(name, partial(drive, servers, file), report)
        for cells in in_passes([name for name in names if name != "drive"]):
            let_rest(servers)
            one_pass(servers, file, cells, report)


def first_build(servers: Stack, file: Path, names: Sequence[str]) -> str:
    """Sensors and automation build all, past the cells of these names.

    A later cell has three minutes more than that takes here.
    """
    with scratch(servers, file) as finish:
        for name in names:
            kill_and_start(servers, name)
        seconds = wait_until_equal(servers, finish, 900)
    servers.patience += seconds
    return f"as from scratch after {seconds:.0f} s"


def drive(servers: Stack, file: Path) -> str:
    """All that a person does: prompt, UI, a new line for the sensor, questions, rollback."""
    names = {process.pid: name for name, process in servers.running.items()}
    add_line(file)
    with scratch(servers, file) as finish, counted(servers.admin_url, names) as most:
        ui_of(servers).launch("everything", RANGE)
        prompt(servers, "run")
        wait_until_equal(servers, finish, servers.patience)
    assert max(most["code's"], most["other"]) <= 6, f"connections of a run: {most}"
    assert most["code"] <= 3, f"connections of the code location: {most}"
    add_line(file)
    with scratch(servers, file) as finish:
        wait_until_equal(servers, finish, servers.patience)
    for words in ("search rocket", "predict bread", "status", "releases"):
        prompt(servers, *words.split())
    ((served,),) = servers.rows("ml_assets", "select max(release_id) from ml_schema.releases")
    prompt(servers, "rollback", "--reason", "test")
    prompt(servers, "rollback", "--to", str(served), "--reason", "test")
    counts = ", ".join(f"{name} {number}" for name, number in most.most_common())
    return f"prompt, UI, sensor, questions, rollback; at most so many connections: {counts}"


def in_passes(cells: Sequence[str]) -> list[list[str]]:
    """The cells that one update can go through: of one victim and outage, one in each run.

    One run is not killed twice, since Dagster starts it again twice at most.
    """
    passes: dict[tuple[str, str, int], list[str]] = {}
    for run in RUNS:
        for name in cells:
            victim, stage, outage = name.split(":")
            if stage in run:
                passes.setdefault((victim, outage, run.index(stage)), []).append(name)
    return sorted(passes.values(), key=lambda names: min(map(cells.index, names)))


def one_pass(servers: Stack, file: Path, cells: Sequence[str], report: Report) -> None:
    """Add a document, and kill something in a stage of each run that follows from it.

    Runs come in the order that they happen to have. What comes after a cell that failed has another
    document.
    """
    for name in cells:
        hold(servers, name)
    add_line(file)
    left = [*cells]
    with scratch(servers, file) as finish:
        while left:
            left.remove(name := next_held(servers, left))
            if not attempt(name, partial(cell, servers, name, left, finish), report):
                break
        else:
            return
    restore(servers)
    if left:
        one_pass(servers, file, left, report)


def cell(servers: Stack, name: str, left: list[str], finish: Callable[[], dict[str, Any]]) -> str:
    """Kill one server in a stage of a run, start it after its outage, and wait for what follows.

    That is the stage of another cell of those that are left, else that all is as from scratch.
    """
    kill_and_start(servers, name)
    if not left:
        seconds = wait_until_equal(servers, finish, servers.patience)
        return f"converged {seconds:.0f} s after its return"
    began = time.monotonic()
    stage = next_held(servers, left).split(":")[1]
    assert held(servers, stage), f"no run came to {stage}"
    return f"went on to {stage} {time.monotonic() - began:.0f} s after its return"


def hold(servers: Stack, name: str) -> None:
    """The next run that comes to the stage of the cell waits there."""
    _, stage, _ = name.split(":")
    (servers.root / "data" / "home" / "hold" / stage).touch()


def kill_and_start(servers: Stack, name: str) -> None:
    """Kill the victim of a cell when a run is held in its stage; it is back after the outage."""
    victim, stage, outage = name.split(":")
    next_held(servers, [name])
    reached = held(servers, stage)
    assert reached, f"no run came to {stage}"
    if victim == "worker":
        kill(int(reached.suffix[1:]))
    else:
        servers.kill(victim)
    reached.unlink()
    time.sleep(int(outage))
    if victim != "worker":
        servers.start(victim)


def next_held(servers: Stack, names: Sequence[str]) -> str:
    """The cell in whose stage a run is held first; where none comes in time, the first of them."""
    deadline = time.monotonic() + max(300, servers.patience)
    while time.monotonic() < deadline:
        for name in names:
            if held(servers, name.split(":")[1]):
                return name
        time.sleep(0.02)
    return names[0]


def held(servers: Stack, stage: str) -> Path | None:
    """The file that says which run is held in a stage."""
    return next((servers.root / "data" / "home" / "hold").glob(f"{stage}.*"), None)


def restore(servers: Stack) -> None:
    """Let nothing of a failed piece of work stand in the way of the next."""
    for path in (servers.root / "data" / "home" / "hold").iterdir():
        path.unlink()
    for server in STACK:
        process = servers.running.get(server.name)
        if server.health and not server.absent and (process is None or process.poll() is not None):
            servers.start(server.name)


def alone(name: str, root: Path, version: str) -> str:
    """What needs no whole stack: two hosts, ticks, another version of PostgreSQL."""
    if name.startswith("hosts"):
        return drive_hosts(root, version, name)
    if name == "ticks":
        return drive_ticks()
    if name in ENGINES:
        return ENGINES[name](root)
    return other_version(root, name.removeprefix("postgres-"))


def drive_ticks() -> str:
    """Ticks between every two steps of updates that come, and stores that go, at any moment."""
    ticks = 0
    for seed in range(6):
        with dg.DagsterInstance.ephemeral() as instance:
            world = World(random.Random(seed), instance)
            world.tick()
            world.build()
            world.live(updates=4)
        assert not world.halves, f"seed {seed}: {world.halves[0]}"
        assert world.made["published_search"] == world.source, f"seed {seed}: left behind"
        ticks += world.ticks
    return f"{ticks} ticks, none asked for half of an update"


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
