"""Automation that ticks between every two steps of updates, which stores may fail.

The graph from documents to the published search with its real conditions, groups and partitions;
what its steps do is written down instead of computed.
"""

import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.automation_condition_sensor_definition import _evaluate
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from ml_assets.defs.assets import VERSION_OF_PARTITION
from ml_assets.defs.build import build_definitions
from ml_assets.defs.partitions import (
    COLLECTIONS,
    contiguous_ranges,
    range_tags,
    register_collections,
)
from ml_assets.defs.sensors import automation
from ml_assets.settings import load_settings

PARTS = ("a", "b")
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

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

State = dict[str, int]


class AwayError(Exception):
    """The store of a step is away."""


@dataclass
class Waiting:
    """A run in the queue, and those that are queued when it ended well."""

    run: dg.DagsterRun
    job: dg.JobDefinition
    then: Sequence["Waiting"] = ()


@dataclass
class World:
    """What the source has, what every step made of it, and the runs that wait."""

    rng: random.Random
    instance: dg.DagsterInstance
    source: State = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    made: dict[str, State] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    queue: deque[Waiting] = field(default_factory=deque)
    cursor: str | None = None
    ticks: int = 0
    evaluated: int = 0
    halves: list[str] = field(default_factory=list)
    failed: int = 0
    looks: bool = False
    """Whether automation ticks within runs."""
    left: int = 0
    """Updates that come on their own, and stores that go, while runs are at work."""

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
                self.evaluated += 1
            case "published_search":
                made[name] = dict(made["search_evaluation"])
        return dict(made[name])

    def between_steps(self) -> None:
        """The daemon looks; now and then the source is edited, or a store goes or comes back."""
        if not self.looks:
            return
        self.tick()
        if self.left and self.rng.random() < 0.15:
            self.left -= 1
            self.edit()
        if self.left and self.rng.random() < 0.15:
            self.away ^= {self.rng.choice(["postgres", "chroma", "volume"])}

    def edit(self, *ends: int) -> None:
        """Change a range of collections, which the sensor of collections asks for."""
        first, last = sorted(ends or self.rng.choices(range(len(PARTS)), k=2))
        for part in PARTS[first : last + 1]:
            self.source[part] += 1
        selection = [dg.AssetKey(name) for name in ("collections", *OF_PARTS)]
        tags = range_tags(dg.PartitionKeyRange(PARTS[first], PARTS[last]))
        self.queue.append(self.wait(selection, tags))

    def tick(self) -> int:
        """Let the sensor evaluate all conditions, and queue what it asks for."""
        self.ticks += 1
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, repository_def=self.repository
        )
        told = self.told = _evaluate(automation, context)
        self.cursor = told.cursor
        for request in told.run_requests or ():
            if request.asset_graph_subset:
                self.backfill(request.asset_graph_subset)
            else:
                part = {"dagster/partition": request.partition_key} if request.partition_key else {}
                asked = self.wait(request.asset_selection or (), {**request.tags, **part})
                self.queue.append(asked)
        return len(told.run_requests or ())

    def backfill(self, asked: AssetGraphSubset) -> None:
        """Queue what the daemon makes of a backfill: partitions, and then what follows them."""
        names = {key.partition_key for key in asked.iterate_asset_partitions()}
        ranges = contiguous_ranges(self.instance, [name for name in names if name])
        following = self.wait(asked.non_partitioned_asset_keys, {})
        for keys in ranges:
            then = [following] if keys == ranges[-1] else ()
            split = asked.partitions_subsets_by_asset_key
            self.queue.append(self.wait(split, range_tags(keys), then))

    def work(self) -> None:
        """Run what waits, one after the other, until nothing is asked for any more.

        A run that an outage failed is started again, after those that wait.
        """
        while self.queue or self.tick():
            waiting = self.queue.popleft()
            if self.run(waiting):
                self.queue.extend(waiting.then)
            else:
                self.failed += 1
                again = self.wait(waiting.run.asset_selection or (), waiting.run.tags, waiting.then)
                self.queue.append(again)
                if not self.left:
                    self.away.clear()

    def wait(
        self, assets: Iterable[dg.AssetKey], tags: Mapping[str, str], then: Sequence[Waiting] = ()
    ) -> Waiting:
        """Make a run of the assets and their checks, as a launch of it does."""
        keys = frozenset(assets)
        checks = {key for each in self.checks for key in each.check_keys if key.asset_key in keys}
        job = self.defs.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection=keys, asset_check_selection=checks
        )
        run = self.instance.create_run_for_job(
            job, run_config=_QUIET, tags=tags, asset_selection=keys
        )
        return Waiting(run, job, then)

    def run(self, waiting: Waiting) -> bool:
        """Run it as Dagster's worker does; return whether it ended well."""
        job = InMemoryJob(waiting.job)
        events = [*execute_run_iterator(job, waiting.run, self.instance)]
        return not any(event.is_run_failure for event in events)

    def build(self) -> None:
        """Build all once, and let automation see that."""
        self.edit(0, len(PARTS) - 1)
        self.work()
        assert self.made["published_search"] == self.source
        self.looks = True

    def live(self, updates: int) -> None:
        """So many updates, at any moment, with outages between them, until all is at rest."""
        self.left = updates - 1
        self.edit()
        self.work()
        while self.left:
            self.left -= 1
            self.edit()
            self.work()
