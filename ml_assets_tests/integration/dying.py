"""Runs that are killed anywhere, with edits in between: each time the next one converges.

`python -m ml_assets_tests.integration.dying 100` kills a hundred in a folder of its own.
"""

import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg

from ml_assets.stores import duckdb, postgres
from ml_assets.stores.postgres.dump import list_databases
from ml_assets.training.experiments import read_candidates
from ml_assets.training.training_set import current_training_set
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.integration.crashing import Point, kill_server
from ml_assets_tests.integration.killing import Command, call
from ml_assets_tests.integration.project import TOPICS, write_rows
from ml_assets_tests.integration.stores import read_stores

EDITIONS = 4
"""So many states of the documents take turns; each is built from scratch once, to be compared."""

NAMED = [
    Point("before", "embeddings.refresh:_write", 2),
    Point("write", "search.indexes.chroma.index:ChromaIndex.upsert"),
    Point("after", "search.indexes.chroma.index:ChromaIndex.remove"),
    Point("before", "search.indexes.chroma.index:ChromaIndex.set_mark"),
    Point("before", "search.indexes.keyword.index:KeywordIndex._commit"),
    Point("after", "search.indexes.keyword.index:KeywordIndex.remove"),
    Point("write", "stores.online.sqlite:_Sqlite.put_many"),
    Point("after", "training.training_set:content_hash"),
    Point("write", "training.candidates:mlflow.log_model"),
    Point("before", "training.candidates:write_results", 3),
    Point("after", "training.candidates:write_results", 2),
    Point("before", "training.candidates:complete_experiment", 4),
    Point("event", "registered_model"),
    Point("sql", "postgres/operations/remember_finish"),
]
"""Where a store, or what another says of it, is half written."""

FROZEN = ("document_id", "label", "group_id", "split", "text_hash")
"""Of a training set. Features are those of the time of the label, so they depend on the past."""

LATEST_STATEMENT, LATEST_EVENT = 300, 200

OF_MODELS = {"offline", "online", "training set", "candidates"}
"""What a run that ends at the search leaves as it was."""


@dataclass(frozen=True)
class Place:
    """A folder with a home, a file of documents, and the command line on them.

    `fast`: it trains the families alone that are quick.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    fast: bool = False

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def file(self) -> Path:
        return self.folder / "notes.jsonl"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def call(
        self, *arguments: str, home: Path | None = None, point: Point | None = None, code: int = 0
    ) -> str:
        """Run `ml-assets`, insist on its exit code, and return what it printed."""
        given, printed = self.attempt(*arguments, home=home, point=point)
        assert given == code, f"{point}: exit {given}\n{printed}"
        return printed

    def attempt(
        self,
        *arguments: str,
        home: Path | None = None,
        point: Point | None = None,
        seconds: float = 300,
    ) -> tuple[int | None, str]:
        """Run `ml-assets` in a process group of its own; return its exit code and what it printed.

        It dies at the point; with all its children it is killed when it takes longer.
        """
        environment = {
            "ML_ASSETS_HOME": str(home or self.home),
            "ML_ASSETS_SOURCE": f"files:{self.file}?collection_by=shelf",
            "ML_ASSETS_CHUNK_TOKENS": "24",
            "ML_ASSETS_CHUNK_OVERLAP": "4",
            "ML_ASSETS_MAX_REMOVED_FRACTION": "1",
            "ML_ASSETS_ACTOR": "tester",
            "COLUMNS": "200",
            **self.settings,
        }
        return call(Command(arguments, environment, self.output, point, self.fast), seconds)


def documents(edition: int) -> list[dict[str, Any]]:
    """Of every edition many are as in others; labelled ones change with each second edition."""
    rows = []
    for label, words in list(TOPICS.items())[:2]:
        for number in range(first := 4 * (edition // 2), first + 40):
            said = " and ".join(random.Random(f"{label}{number}").sample(words.split(), k=3))
            text = f"About {said}."
            rows.append({"id": f"{label}-{number}", "text": text, "label": label, "shelf": "a"})
    for number in range(edition, 16 + edition):
        changing = f" Edition {edition}." if number % 3 == 0 else ""
        text = f"Note {number} tells of thing {number % 5}.{changing} " * (1 + number % 3)
        rows.append({"id": f"n{number}", "text": text, "shelf": f"s{(number + edition) % 2}"})
    return rows


def read(home: Path, **settings: object) -> dict[str, Any]:
    """What must not depend on the past of a home."""
    with duckdb.connect(home / "offline.duckdb") as duck:
        current = current_training_set(duck)
    with postgres.connect(None, home) as connection:
        query = "select generation_id from releases where upper_inf(served)"
        candidates = read_candidates(connection, current.hash) if current else []
        return {
            **read_stores(connection, home, SPACE, **settings),
            "served": connection.execute(query).fetchall(),
            "training set": current and current.rows[[*FROZEN]].to_numpy().tolist(),
            "candidates": [each.family for each in candidates],
        }


def left_running(home: Path) -> list[str]:
    """What Dagster or MLflow take for running or taken, although nobody is at work."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        storage = instance.event_log_storage
        running = [
            *(f"run {run.run_id}" for run in instance.get_runs() if not run.is_finished),
            *(
                f"pool {pool}"
                for pool in storage.get_concurrency_keys()
                if storage.get_concurrency_info(pool).active_slot_count
            ),
        ]
    with postgres.connect(None, home) as connection:
        query = "select run_id from experiments where status = 'running'"
        running += [f"experiment {run}" for (run,) in connection.execute(query)]
        if "mlflow" not in list_databases(connection):
            return running
    with psycopg.connect(postgres.server_url(None, home, "mlflow")) as connection:
        query = "select run_uuid from runs where status = 'RUNNING'"
        return running + [f"MLflow run {run}" for (run,) in connection.execute(query)]


def moment(rng: random.Random, seconds: float) -> tuple[Point | None, float]:
    """Where to kill a run that takes so long: at a statement, an event, a named point, any time."""
    match rng.randrange(4):
        case 0:
            return Point("sql", times=rng.randint(1, LATEST_STATEMENT)), 300
        case 1:
            return Point("event", times=rng.randint(1, LATEST_EVENT)), 300
        case 2:
            return rng.choice(NAMED), 300
        case _:
            return None, rng.uniform(0.1, seconds)


@dataclass(frozen=True)
class Scratch:
    """What stores hold after one run on the documents of an edition, each built once."""

    place: Place
    built: dict[int, dict[str, Any]] = field(default_factory=dict)

    def read(self, edition: int) -> dict[str, Any]:
        if edition not in self.built:
            home = self.place.folder / f"scratch-{edition}"
            try:
                self.place.call("run", home=home)
                self.built[edition] = read(home)
            finally:
                postgres.stop(home)
                shutil.rmtree(home, ignore_errors=True)
        return self.built[edition]


def die(place: Place, kills: int, seed: int = 0) -> Iterator[str]:
    """Kill so many runs, each after an edit; yield what was then not as it must be.

    Two of three end at the search, which takes a third of the time of a whole one.
    """
    rng, scratch = random.Random(seed), Scratch(place)
    edition, seconds, number = 0, {"search": 15.0, "models": 40.0}, 0
    while number < kills:
        edition = rng.choice([each for each in range(EDITIONS) if each != edition])
        write_rows(place.file, documents(edition))
        until = rng.choice(["search", "search", "models"])
        point, limit = moment(rng, seconds[until])
        where = f"{until}, {point or f'{limit:.1f} s'}"
        code, printed = place.attempt("run", "--until", until, point=point, seconds=limit)
        if code not in (-signal.SIGKILL, -signal.SIGXFSZ):
            print(f"not reached: {where}", flush=True)
            if code:
                yield f"{where}: the run ended with {code}: {printed}"
            continue
        number += 1
        if rng.randrange(4) == 0 and (place.home / "postgres" / "postmaster.pid").exists():
            kill_server(place.home / "postgres")
            where += " and its server"
        started = time.monotonic()
        code, printed = place.attempt("run", "--until", until)
        seconds[until] = time.monotonic() - started
        print(f"{number}: killed at {where}; the next took {seconds[until]:.0f} s", flush=True)
        if code:
            yield f"{where}: the next run ended with {code}: {printed}"
            continue
        yield from (f"{where}: {fault}" for fault in differences(place, scratch, edition, until))


def differences(place: Place, scratch: Scratch, edition: int, until: str) -> list[str]:
    """What a home has left to do, holds unlike one that was built from scratch, or left running."""
    faults = left_running(place.home)
    if until == "models":
        code, printed = place.attempt("run")
        if "Nothing changed since" not in printed:
            faults.append(f"the second run ({code}): {printed}")
    expected, found = scratch.read(edition), read(place.home)
    compared = expected.keys() - (OF_MODELS if until == "search" else set())
    return faults + [f"{name} differ" for name in compared if found[name] != expected[name]]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ml_assets-", ignore_cleanup_errors=True) as opened:
        begun, faults = time.monotonic(), 0
        try:
            for fault in die(Place(Path(opened)), *map(int, sys.argv[1:])):
                faults += 1
                print("FAULT", fault, flush=True)
            print(f"{sys.argv[1]} kills, {faults} faults, {time.monotonic() - begun:.0f} s")
        finally:
            postgres.stop(Path(opened) / "home")
