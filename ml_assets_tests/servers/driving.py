"""What is asked of a running stack, and what it holds beside a build from scratch."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import ml_assets
from ml_assets.embeddings.space import current_space
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.search.generation import published_generation
from ml_assets.search.indexes.kinds import KINDS, Indexes
from ml_assets.settings import Settings, load_settings, secret
from ml_assets.stores import duckdb, online, postgres
from ml_assets.training.training_set import current_training_set
from ml_assets_tests.integration.project import TOPICS, Project
from ml_assets_tests.integration.racing import Ui
from ml_assets_tests.integration.stores import read_tables
from ml_assets_tests.servers.running import Stack

QUERIES = ("baking bread with flour", "rocket orbit", "violin melody", "pruning a rose")

_QUIET = 30
"""Seconds; a sensor has its turn at least twice in them."""

_UNFINISHED = "select status from runs where status not in ('SUCCESS', 'FAILURE', 'CANCELED')"
_UNGATED = """
select subject from ml_schema.model_audit_logs
where action in ('publish', 'promote')
    and (not details ? 'gates' or details -> 'gates' @> '[{"outcome": "block"}]')
"""


def add_line(file: Path) -> None:
    """One more document, with the label of the first, of which there is no other."""
    lines = file.read_text().splitlines()
    words = random.Random(len(lines)).sample(TOPICS["kitchen"].split(), k=4)
    text = f"Line {len(lines)}: {' and '.join(words)}."
    row = {**json.loads(lines[0]), "id": f"line-{len(lines)}", "title": "", "text": text}
    with file.open("a") as more:
        more.write(json.dumps(row) + "\n")


def contents(settings: Settings, *, models: bool = True) -> dict[str, Any]:
    """Rows, index entries, hits, online values and, with models, training documents and labels.

    Not the numbers of vectors: which texts share a batch moves their last bit.
    """
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        held = read_tables(connection, current_space(settings))
        held["vectors"] = [row[:-1] for row in held["vectors"]]
        indexes = Indexes(settings)
        generation = published_generation(connection)
        assert generation, "nothing is published"
        held["served"] = generation.generation_id
        for kind in KINDS:
            if kind in generation.parameters:
                with indexes.open(connection, generation, kind) as index:
                    held[kind] = {chunk_id for chunk_id, _ in index.revisions()}
    with online.connect(secret(settings.online_url), settings.home) as store:
        ids = sorted(store.revisions(DOCUMENT_TEXT.key))
        values = store.get_many(DOCUMENT_TEXT.key, ids).values
        held["online"] = {name: [_rounded(v) for v in values[name].values()] for name in ids}
    with ml_assets.open(settings) as session:
        held["hits"] = [[hit.document_id for hit in session.search(q).hits] for q in QUERIES]
        if models:
            with duckdb.connect(settings.duckdb_file) as duck:
                trained = current_training_set(duck)
            held["trained on"] = set(trained.rows["document_id"]) if trained else set()
            held["labels"] = set(session.predict(QUERIES[:1])[0]) if trained else set()
    return held


def _rounded(value: object) -> object:
    return round(value, 2) if isinstance(value, float) else value


@contextmanager
def scratch(stack: Stack, file: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Begin a build from scratch on embedded stores; what it gives waits for its end."""
    home = stack.root / "scratch" / str(time.monotonic_ns())
    home.mkdir(parents=True)
    if (stack.root / "data" / "home" / "models").exists():
        (home / "models").symlink_to(stack.root / "data" / "home" / "models")
    project = Project(home, file, fast=True)
    settings = load_settings(home=home, source=project.environment["ML_ASSETS_SOURCE"])
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(project.call, "run")

        @cache
        def finish() -> dict[str, Any]:
            run.result()
            return contents(settings)

        try:
            yield finish
        finally:
            wait([run])
            postgres.server_url(None, home)
            postgres.stop(home)
            shutil.rmtree(home)


def differences(stack: Stack, expected: dict[str, Any]) -> str:
    """Why the stack is not as a build from scratch, and at rest; empty: it is."""
    if unfinished := stack.rows("dagster", _UNFINISHED):
        return f"runs of Dagster at work: {unfinished}"
    if running := stack.rows("mlflow", "select name from runs where status = 'RUNNING'"):
        return f"runs of MLflow at work: {running}"
    if ungated := stack.rows("ml_assets", _UNGATED):
        return f"published past a gate: {ungated}"
    present = contents(stack.settings())
    unequal = [name for name, value in expected.items() if present[name] != value]
    return f"not as from scratch: {', '.join(unequal)}" if unequal else ""


def wait_until_equal(stack: Stack, finish: Callable[[], dict[str, Any]], seconds: float) -> float:
    """Return after how many seconds from now the stack is as the build from scratch.

    Raises:
        AssertionError: it is not, after so many.
    """
    began = time.monotonic()
    expected = finish()
    while True:
        asked = time.monotonic() - began
        try:
            difference = differences(stack, expected)
        except Exception as error:  # noqa: BLE001  a store that comes back is asked again
            difference = f"{type(error).__name__}: {str(error).strip()[:300]}"
        if not difference:
            return asked
        assert asked < seconds, difference
        time.sleep(2)


def let_rest(stack: Stack) -> None:
    """Wait until no run was at work for half a minute.

    What a lost run left undone is asked for again although others may have done it: such a run
    would be held in a stage of the next cell, and never come to its own.
    """
    quiet = time.monotonic()
    while time.monotonic() - quiet < _QUIET:
        if stack.rows("dagster", _UNFINISHED):
            quiet = time.monotonic()
        time.sleep(1)


def ui_of(stack: Stack) -> Ui:
    return Ui(int(stack.places["webserver_port"]))


def prompt(stack: Stack, *arguments: str) -> str:
    """`ml-assets` in the container of the code location; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "ml_assets.cli", *arguments],
        env=stack.environment("code"),
        cwd=stack.root,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"ml-assets {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout
