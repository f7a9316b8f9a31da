"""Nothing is built or published past a blocking check that failed, whoever asks for it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from ml_assets.defs import sensors
from ml_assets.defs.automation import TURN
from ml_assets.defs.build import build_definitions
from ml_assets.defs.partitions import range_tags, register_collections
from ml_assets.defs.resources import PostgresResource
from ml_assets.documents.model import Document
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets.stores.postgres import locks
from ml_assets_tests.fakes import MemorySource
from ml_assets_tests.graph import evaluate

SEARCH = {
    *("pgvector_index", "chroma_index", "keyword_index"),
    *("search_evaluation", "published_search"),
}
Ticks = Callable[[], set[str]]


@pytest.fixture
def settings(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("POSTGRES_URL", postgres_url)
    return load_settings(home=tmp_path / "home", actor="tester")


@pytest.fixture
def defs(settings: Settings, resources: dict[str, object]) -> dg.Definitions:
    return build_definitions(settings, resources)


@pytest.fixture
def ticks(
    defs: dg.Definitions, instance: dg.DagsterInstance, resources: dict[str, object]
) -> Ticks:
    """Evaluate both sensors, run what they ask for, until they ask no more; name what was run."""
    state: dict[str, Any] = {"cursor": None, "keys": set()}
    everything = defs.resolve_job_def("everything")

    def run(keys: set[dg.AssetKey], tags: dict[str, str]) -> None:
        everything.execute_in_process(
            instance=instance, asset_selection=[*keys], tags=tags, raise_on_error=False
        )

    def follow_source() -> set[str]:
        context = dg.build_sensor_context(instance=instance)
        asked = {name: resources[name] for name in ("source", "encoder", "postgres")}
        requests = [
            item
            for item in evaluate(sensors.collections_sensor, context, **asked)
            if isinstance(item, dg.RunRequest) and item.run_key not in state["keys"]
        ]
        for request in requests:
            state["keys"].add(request.run_key)
            names = ("raw_documents", "chunks", "embeddings")
            run({dg.AssetKey(name) for name in names}, dict(request.tags))
        return {"raw_documents"} if requests else set()

    def follow_assets() -> set[str]:
        tick = dg.evaluate_automation_conditions(
            defs=defs, instance=instance, cursor=state["cursor"]
        )
        state["cursor"] = tick.cursor
        graph = defs.resolve_asset_graph()
        requested = [key for key in graph.get_all_asset_keys() if tick.get_num_requested(key)]
        whole = {key for key in requested if graph.get(key).partitions_def is None}
        if whole:
            run(whole, {})
        for name in sorted(
            {p for key in requested for p in tick.get_requested_partitions(key)} - {None}
        ):
            run({*requested} - whole, {"dagster/partition": name})
        return {key.to_user_string() for key in requested}

    def until_at_rest() -> set[str]:
        names: set[str] = set()
        for _ in range(8):
            asked = follow_source() | follow_assets()
            if not asked:
                return names
            names |= asked
        raise AssertionError(f"never at rest: {names}")

    follow_assets()
    return until_at_rest


def releases(resources: dict[str, object]) -> list[tuple[Any, ...]]:
    store = resources["postgres"]
    assert isinstance(store, PostgresResource)
    with store.connect() as connection:
        measured = connection.execute(
            "select evaluation::text, measured::text from search_generations"
        )
        return [*connection.execute("select * from releases order by 1"), *measured]


def execute(resources: dict[str, object], query: str) -> None:
    store = resources["postgres"]
    assert isinstance(store, PostgresResource)
    with store.connect() as connection:
        connection.execute(query)


def test_a_corrupted_vector_is_not_published(
    ticks: Ticks, source: MemorySource, resources: dict[str, object]
) -> None:
    source.documents = [Document(f"d{n}", "ab"[n % 2], f"Text number {n}.") for n in range(12)]
    assert ticks() >= SEARCH
    before = releases(resources)
    assert len(before) == 2

    execute(
        resources,
        "update document_embeddings set embedding = (select array_agg(x * .9)::vector"
        " from unnest(embedding::vector::real[]) x) where chunk_id = 'd1#0'",
    )
    source.documents[0] = Document("d0", "a", "An edit.")
    asked = ticks()
    assert "raw_documents" in asked
    assert not asked & SEARCH
    assert releases(resources) == before
    source.documents[3] = Document("d3", "b", "Another edit.")
    assert not ticks() & SEARCH
    assert releases(resources) == before

    execute(resources, "delete from document_embeddings where chunk_id = 'd1#0'")
    assert ticks() >= SEARCH
    assert releases(resources) != before


def start(defs: dg.Definitions, instance: dg.DagsterInstance, job: str) -> dg.DagsterRun:
    """Run a job as a process of the UI does, and return how it stands."""
    definition = defs.resolve_job_def(job)
    tags = range_tags(dg.PartitionKeyRange("a", "b")) if job == "refresh_documents" else {}
    run = instance.create_run_for_job(definition, tags=tags)
    for _ in execute_run_iterator(InMemoryJob(definition), run, instance):
        pass
    ended = instance.get_run_by_id(run.run_id)
    assert ended
    return ended


def messages(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """What the log of a run says, errors included."""
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id)]
    errors = [event.job_failure_data.error for event in events if event and event.is_job_failure]
    return f"{[event and event.message for event in events]} {errors}"


def test_no_run_is_built_on_what_failed_its_check(
    defs: dg.Definitions, source: MemorySource, resources: dict[str, object]
) -> None:
    source.documents = [Document(f"d{n}", "ab"[n % 2], f"Text number {n}.") for n in range(6)]
    with dg.instance_for_test() as instance:
        register_collections(instance, "ab")
        assert start(defs, instance, "refresh_documents").is_success
        execute(resources, "update document_embeddings set embedding = embedding + embedding")
        assert not start(defs, instance, "refresh_documents").is_success
        run = start(defs, instance, "rebuild_search")
        assert run.is_failure
        assert "vectors_have_unit_norm of embeddings did not pass" in messages(instance, run)
        assert instance.get_latest_materialization_event(dg.AssetKey("pgvector_index")) is None
        execute(resources, "delete from document_embeddings")
        assert start(defs, instance, "refresh_documents").is_success
        assert start(defs, instance, "rebuild_search").is_success


def test_the_second_of_two_runs_waits_and_says_so(
    defs: dg.Definitions, source: MemorySource, postgres_url: str, tmp_path: Path
) -> None:
    source.documents = [Document("d", "a", "Text."), Document("e", "b", "Text.")]
    with (
        dg.instance_for_test() as instance,
        postgres.connect(postgres_url, tmp_path) as connection,
        ThreadPoolExecutor() as pool,
    ):
        register_collections(instance, "ab")
        with locks.turn(connection, print):
            running = pool.submit(start, defs, instance, "refresh_documents")
            while not (runs := instance.get_runs()) or "waiting" not in messages(instance, runs[0]):
                assert not running.done()
                sleep(0.1)
            assert not instance.get_latest_materialization_event(dg.AssetKey("raw_documents"))
        run = running.result(timeout=60)
    assert run.is_success
    assert run.tags[TURN] == run.run_id
