"""Automation ticks between every two steps of updates: no condition sees half of one.

The graph from documents to the published search with its real conditions, groups and partitions;
what its steps do is written down instead of computed.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from ml_assets.defs.assets import VERSION_OF_PARTITION
from ml_assets.defs.build import build_definitions
from ml_assets.defs.partitions import COLLECTIONS, register_collections
from ml_assets.defs.sensors import automation
from ml_assets.settings import load_settings

PARTS = ("a", "b", "c")
OF_PARTS = ("raw_documents", "chunks", "embeddings")
INDEXES = ("pgvector_index", "chroma_index", "keyword_index")
STORES = {
    "chunks": "postgres",
    "embeddings": "postgres",
    "pgvector_index": "postgres",
    "chroma_index": "chroma",
    "keyword_index": "volume",
    "search_evaluation": "chroma",
}
"""Which store a step needs that can be away."""

State = dict[str, int]


class AwayError(Exception):
    """The store of a step is away."""


@dataclass
class World:
    """What the source has, what every step made of it, and the runs that wait."""

    rng: random.Random
    instance: dg.DagsterInstance
    source: State = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    made: dict[str, State] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    queue: deque[tuple[dg.DagsterRun, dg.JobDefinition]] = field(default_factory=deque)
    cursor: str | None = None
    ticks: int = 0
    evaluated: list[State] = field(default_factory=list)
    halves: list[str] = field(default_factory=list)
    failed: int = 0
    left: int = 0
    """Updates that are still to come."""

    def __post_init__(self) -> None:
        graph = build_definitions(load_settings()).resolve_asset_graph()
        nodes = [graph.get(each) for each in graph.toposorted_asset_keys]
        follows = ("documents", "embeddings", "search")
        self.assets = [self._asset(node) for node in nodes if node.group_name in follows]
        self.checks = [self._check(each.key) for each in self.assets]
        self.defs = dg.Definitions(
            assets=self.assets,
            asset_checks=self.checks,
            sensors=[automation],
            executor=dg.in_process_executor,
        )
        self.repository = self.defs.get_repository_def()
        register_collections(self.instance, PARTS)

    def _asset(self, node: Any) -> dg.AssetsDefinition:
        name = node.key.to_user_string()

        @dg.asset(
            name=name,
            deps=node.parent_keys,
            group_name=node.group_name,
            partitions_def=COLLECTIONS if node.partitions_def else None,
            automation_condition=node.automation_condition,
            backfill_policy=dg.BackfillPolicy.single_run(),
        )
        def step(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            self.between_steps()
            if STORES.get(name) in self.away:
                raise AwayError
            version = self.make(name, context.partition_keys if node.partitions_def else ())
            if node.partitions_def:
                for part in context.partition_keys:
                    own = {VERSION_OF_PARTITION: str(self.made[name][part])}
                    context.add_asset_metadata(own, partition_key=part)
            return dg.MaterializeResult(data_version=dg.DataVersion(str(version)))

        return step

    def _check(self, key: dg.AssetKey) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset=key, blocking=True, name=f"{key.path[-1]}_is_sound")
        def is_sound() -> dg.AssetCheckResult:
            self.between_steps()
            return dg.AssetCheckResult(passed=True)

        return is_sound

    def make(self, name: str, parts: Any) -> State:
        """Do what a step does, and look whether what it is made of is of one update."""
        made = self.made
        match name:
            case "collections":
                made[name] = {}
            case "raw_documents" | "chunks" | "embeddings":
                above = {"raw_documents": self.source, "chunks": made.get("raw_documents", {})}
                own = made.setdefault(name, {})
                own |= {part: above.get(name, made.get("chunks", {}))[part] for part in parts}
            case "pgvector_index" | "chroma_index" | "keyword_index":
                made[name] = dict(made["embeddings"])
            case "search_evaluation":
                states = {index: made[index] for index in (*INDEXES, "embeddings", "chunks")}
                if len({str(sorted(state.items())) for state in states.values()}) > 1:
                    self.halves.append(str(states))
                made[name] = dict(made["pgvector_index"])
                self.evaluated.append(made[name])
            case "published_search":
                made[name] = dict(made["search_evaluation"])
        return dict(made[name])

    def between_steps(self) -> None:
        """The daemon looks; now and then the source is edited, or a store goes or comes back."""
        self.tick()
        if self.left and self.rng.random() < 0.15:
            self.left -= 1
            self.edit()
        if self.rng.random() < 0.1:
            store = self.rng.choice(["postgres", "chroma", "volume"])
            self.away ^= {store} if self.left else set()

    def edit(self, *ends: int) -> None:
        """Change a range of collections, which the sensor of collections asks for."""
        first, last = sorted(ends or self.rng.choices(range(len(PARTS)), k=2))
        for part in PARTS[first : last + 1]:
            self.source[part] += 1
        selection = [dg.AssetKey(name) for name in ("collections", *OF_PARTS)]
        tags = {
            "dagster/asset_partition_range_start": PARTS[first],
            "dagster/asset_partition_range_end": PARTS[last],
        }
        self.enqueue(selection, tags)

    def tick(self) -> int:
        """Let the sensor evaluate all conditions, and queue what it asks for."""
        self.ticks += 1
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, repository_def=self.repository
        )
        told = automation.evaluate_tick(context)
        self.cursor = told.cursor
        for request in told.run_requests or ():
            self.enqueue(request.asset_selection, request.tags)
        return len(told.run_requests or ())

    def enqueue(self, selection: Any, tags: Any) -> None:
        keys = {*selection}
        checks = {key for each in self.checks for key in each.check_keys if key.asset_key in keys}
        job = self.defs.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection=keys, asset_check_selection=checks
        )
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        run = self.instance.create_run_for_job(
            job, run_config=quiet, tags=tags, asset_selection=frozenset(keys)
        )
        self.queue.append((run, job))

    def work(self) -> None:
        """Run what waits, one after the other, until nothing is asked for any more.

        A run that an outage failed is started again, after those that wait.
        """
        while self.queue or self.tick():
            run, job = self.queue.popleft()
            for event in execute_run_iterator(InMemoryJob(job), run, self.instance):
                if event.is_run_failure:
                    self.failed += 1
                    self.enqueue(run.asset_selection, run.tags)
            if not self.left:
                self.away.clear()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.mark.parametrize("seed", range(3))
def test_no_tick_asks_for_half_of_an_update(instance: dg.DagsterInstance, seed: int) -> None:
    world = World(random.Random(seed), instance)
    world.tick()
    world.edit(0, len(PARTS) - 1)
    world.work()
    world.left = 4
    world.edit()
    world.work()
    print(world.ticks, world.evaluated, world.made, world.failed)
    assert world.halves == []
    assert world.made["published_search"] == world.source
