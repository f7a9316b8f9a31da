"""Runs from prompt, UI, sensors and schedule at once, on files that are edited meanwhile.

`python -m ml_assets_tests.integration.racing 20` does twenty rounds in a folder of its own.
"""

import json
import random
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from ml_assets.embeddings.space import current_space
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets_tests.integration.project import TOPICS, Project, write_documents, write_rows
from ml_assets_tests.integration.stores import open_indexes, read_tables
from ml_assets_tests.servers import free_port

_LAUNCH = """
mutation($execution: ExecutionParams!) {
  launchRun(executionParams: $execution) { __typename ... on PythonError { message } }
}
"""
_RUNS = "{ runsOrError { ... on Runs { results { runId jobName status endTime } } } }"
_TICKS = """
{ sensorsOrError(repositorySelector: {
    repositoryName: "__repository__", repositoryLocationName: "ml_assets"
}) { ... on Sensors { results { name sensorState { ticks(limit: 1) { timestamp status } } } } } }
"""
_FOLLOWERS = ("collections_sensor", "automation")
"""The sensors that follow documents and assets; that of labels looks once a minute."""
_RANGE = {
    "dagster/asset_partition_range_start": "even",
    "dagster/asset_partition_range_end": "odd",
}
PATIENCE = 600


class Ui:
    """A running `ml-assets ui`, asked by GraphQL."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def launch(self, job: str, tags: dict[str, str] | None = None) -> None:
        """Launch a job as the page of the job does."""
        selector = {
            "jobName": job,
            "repositoryName": "__repository__",
            "repositoryLocationName": "ml_assets",
        }
        metadata = {"tags": [{"key": k, "value": v} for k, v in (tags or {}).items()]}
        execution = {"selector": selector, "runConfigData": {}, "executionMetadata": metadata}
        answer = self.ask(_LAUNCH, execution=execution)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer

    def runs(self) -> list[dict[str, Any]]:
        """All runs, the newest first."""
        runs: list[dict[str, Any]] = self.ask(_RUNS)["runsOrError"]["results"]
        return runs

    def wait_until_at_rest(self) -> None:
        """Until all runs have ended, and each sensor has since looked and found nothing to do."""
        deadline = time.monotonic() + PATIENCE
        while not self._is_at_rest():
            assert time.monotonic() < deadline, "runs go on and on"
            time.sleep(1)

    def _is_at_rest(self) -> bool:
        # Ticks first: a run that one of them requested after that is among the runs.
        sensors = self.ask(_TICKS)["sensorsOrError"]["results"]
        runs = self.runs()
        if {run["status"] for run in runs} - {"SUCCESS", "FAILURE", "CANCELED"}:
            return False
        ended = max((run["endTime"] for run in runs), default=0.0)
        looked = [
            tick["status"] == "SKIPPED" and tick["timestamp"] > ended
            for sensor in sensors
            if sensor["name"] in _FOLLOWERS
            for tick in sensor["sensorState"]["ticks"]
        ]
        return looked == [True] * len(_FOLLOWERS)


@contextmanager
def served(project: Project) -> Iterator[Ui]:
    """`ml-assets ui`, with its daemon, until the end of the block."""
    ui = Ui(free_port())
    log = (project.home.parent / "ui.log").open("w")
    process = project.start_logged(log, "ui", "--port", str(ui.port))
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                ui.ask("{ assetNodes { groupName } }")
                break
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(1)
        yield ui
    finally:
        process.terminate()
        process.wait(timeout=90)
        log.close()


def edit(project: Project, rng: random.Random) -> None:
    """Change, add or remove a few documents; the file is written in place."""
    rows = [json.loads(line) for line in project.file.read_text().splitlines()]
    for _ in range(rng.randint(1, 4)):
        label = rng.choice([*TOPICS])
        words = " and ".join(rng.sample(TOPICS[label].split(), k=3))
        match rng.choice(["change", "add", "remove"]):
            case "change":
                rng.choice(rows)["text"] = f"Now about {words}."
            case "add":
                row = {"id": f"{label}-new-{rng.random()}", "label": label, "text": f"Of {words}."}
                rows.append({**row, "title": "", "shelf": rng.choice(["even", "odd"])})
            case "remove":
                rows.pop(rng.randrange(len(rows)))
    write_rows(project.file, rows)


def race(project: Project, ui: Ui, rounds: int, seed: int = 0) -> list[dict[str, Any]]:
    """So many rounds of edits and runs of all kinds; return all runs when all is at rest."""
    rng = random.Random(seed)
    for number in range(rounds):
        edit(project, rng)
        prompt = project.start("run", "--until", "search")
        ui.launch("rebuild_search")
        edit(project, rng)
        ui.launch("everything" if number % 4 == 0 else "refresh_documents", _RANGE)
        if number:
            # Of the model alone: what is left is withdrawn until it is published by hand.
            by_hand(project, "rollback")
            by_hand(project, "publish", "1")
        out, err = prompt.communicate(timeout=PATIENCE)
        assert prompt.returncode == 0, f"round {number}: {out}{err}"
        print(f"round {number}: {len(ui.runs())} runs", flush=True)
    ui.wait_until_at_rest()
    return ui.runs()


def by_hand(project: Project, *arguments: str) -> None:
    """Publish or roll back; what the moment does not permit is refused in one line."""
    process = project.start(*arguments, "--reason", "race")
    out, err = process.communicate(timeout=PATIENCE)
    refused = "\nError " in f"\n{err}" and "Traceback" not in err
    assert process.returncode == 0 or refused, f"{out}{err}"


def failures(project: Project) -> list[str]:
    """Of every run that did not end well: its job, and the errors in its log."""
    with dg.DagsterInstance.from_config(str(project.home / "dagster")) as instance:
        runs = [run for run in instance.get_runs() if run.status != dg.DagsterRunStatus.SUCCESS]
        return [
            f"{run.job_name} {run.status.value}: {errors(instance, run.run_id)}" for run in runs
        ]


def errors(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The messages of the first causes of what failed in a run."""
    found = []
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event and (event.is_step_failure or event.is_job_failure):
            error: Any = event.event_specific_data.error  # type: ignore[union-attr]
            while error and error.cause:
                error = error.cause
            found.append(f"{event.step_key}: {error.message if error else event.message}")
    return found


def differences(project: Project) -> list[str]:
    """In what the stores differ from those of a home that is built from scratch, left there."""
    scratch = Project(project.home.parent / "scratch", project.file)
    if (project.home / "models").exists():
        scratch.home.mkdir()
        (scratch.home / "models").symlink_to((project.home / "models").resolve())
    scratch.call("run", "--until", "search")
    (lived, vectors), (built, expected) = _read(project.home), _read(scratch.home)
    differing = [name for name, rows in built.items() if lived[name] != rows]
    # Which texts share a batch moves the last bit of a vector.
    same = len(vectors) == len(expected) and np.allclose(vectors, expected, atol=1e-3)
    return differing if same else [*differing, "numbers of vectors"]


def _read(home: Path) -> tuple[dict[str, Any], list[Any]]:
    """The rows and index entries of a home; apart the numbers of its vectors."""
    space = current_space(load_settings(home=home))
    with postgres.connect(None, home) as connection:
        rows: dict[str, Any] = read_tables(connection, space)
        with open_indexes(connection, home, space) as indexes:
            for index in indexes:
                rows[index.kind] = {chunk_id for chunk_id, _ in index.revisions()}
    vectors = [json.loads(row[-1]) for row in rows["vectors"]]
    rows["vectors"] = [row[:-1] for row in rows["vectors"]]
    return rows, vectors


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        opened = Project(Path(folder) / "home", Path(folder) / "notes.jsonl")
        write_documents(opened.file)
        opened.call("run")
        begun, rounds = time.monotonic(), int(sys.argv[1])
        try:
            with served(opened) as ui:
                runs = len(race(opened, ui, rounds))
        finally:
            red = failures(opened)
            print(*red, sep="\n")
        differing = differences(opened)
        print(
            f"{rounds} rounds, {runs} runs, {len(red)} red,"
            f" {', '.join(differing) or 'nothing'} differs from a build from scratch,"
            f" {time.monotonic() - begun:.0f} s"
        )
        for home in (opened.home, opened.home.parent / "scratch"):
            postgres.stop(home)
