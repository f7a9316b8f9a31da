"""Two hosts: homes of their own on the same servers, which run by turns on random edits."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets_tests.integration.project import Project, write_documents
from ml_assets_tests.integration.racing import edit
from ml_assets_tests.servers.driving import contents
from ml_assets_tests.servers.running import stack

SERVERS = {
    "hosts": ("POSTGRES_URL",),
    "hosts-on-servers": ("POSTGRES_URL", "CHROMA_URL", "REDIS_URL", "MLFLOW_TRACKING_URI"),
}
"""What the hosts share; all else lies in the home of each."""

ENCODED = re.compile(r"embedded new\W+(\d+)")


@dataclass(frozen=True)
class Hosts:
    """The projects of hosts on one source, and the URLs of the servers that they share."""

    projects: Sequence[Project]
    urls: Mapping[str, str]

    def run(self, number: int) -> str:
        """Run all on one of them."""
        return self.projects[number].call("run", **self.urls)

    def contents(self, number: int) -> dict[str, Any]:
        """What one of them holds and answers, the models left out."""
        return _contents(self.projects[number], self.urls)


def hosts(root: Path, file: Path, urls: Mapping[str, str], models: Path | None = None) -> Hosts:
    """Two hosts without anything; the exported `models` of another home spare them the export."""
    projects = [Project(root / name, file, fast=True) for name in ("a", "b")]
    for project in projects:
        project.home.mkdir(parents=True)
        if models:
            (project.home / "models").symlink_to(models)
    return Hosts(projects, urls)


def encoded(told: str) -> int:
    """How many texts a run encoded, by what it told; 0 where it did nothing."""
    counted = ENCODED.search(told)
    return int(counted[1]) if counted else 0


def take_turns(pair: Hosts, rounds: int) -> str:
    """Edit, and let both run, now one first and now the other; compare both with a new build.

    Each text is encoded by the host that comes first, and what has not changed is not done again.
    """
    rng, again = random.Random(5), []
    for number in range(rounds):
        first = number % 2
        edit(pair.projects[0], rng)
        told = [pair.run(host) for host in (first, 1 - first)]
        again.append(encoded(told[1]))
    assert not any(again), f"texts that the second host encoded again, by round: {again}"
    for host in (0, 1):
        pair.run(host)  # it looks at what the other one wrote after its own last run
    quiet = [("Nothing changed" in pair.run(host)) for host in (0, 1, 0, 1)]
    assert all(quiet), f"of A, B, A, B nothing to do had: {quiet}"
    scratch = Project(pair.projects[0].home.with_name("scratch"), pair.projects[0].file, fast=True)
    scratch.call("run")
    try:
        expected = _contents(scratch, {})
        for host in (0, 1):
            present = pair.contents(host)
            unequal = [name for name in expected if present[name] != expected[name]]
            assert not unequal, f"host {'AB'[host]}: not as from scratch: {', '.join(unequal)}"
    finally:
        postgres.stop(scratch.home)
    return f"{rounds} rounds; both as from scratch, nothing encoded or done twice"


def drive_hosts(root: Path, version: str, name: str) -> str:
    """Twenty rounds of two hosts on the servers of that name."""
    file = root / "notes.jsonl"
    root.mkdir()
    write_documents(file, per_topic=15)
    with stack(root / "stack", version) as servers:
        for server in ("chroma", "redis", "mlflow"):
            if name != "hosts":
                servers.start(server)
        where = servers.environment("code")
        return take_turns(hosts(root, file, {each: where[each] for each in SERVERS[name]}), 20)


def _contents(project: Project, urls: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {name.lower(): url for name, url in urls.items()}
    source = project.environment["ML_ASSETS_SOURCE"]
    return contents(load_settings(home=project.home, source=source, **given), models=False)
