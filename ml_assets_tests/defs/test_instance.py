"""Dagster's records: opened, read, and refused with one clear line when they cannot be."""

import importlib
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import Connection, Engine, event

from ml_assets.defs.instance import (
    last_runs,
    latest_checks,
    measured_rate,
    open_instance,
    partition_range,
    records_kept_open,
    store_batches_at_once,
)
from ml_assets.defs.partitions import range_tags, register_collections
from ml_assets.errors import StoreError
from ml_assets.settings import Settings
from ml_assets_tests.paths import PROJECT


def settings(home: Path, dagster_home: Path | None = None) -> Settings:
    return Settings(home=home, dagster_home=dagster_home)


def test_a_new_home_gets_the_projects_configuration_and_has_no_runs(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    assert last_runs(chosen) == []
    assert latest_checks(chosen) == []
    assert measured_rate(chosen) is None
    written = (chosen.dagster_folder / "dagster.yaml").read_text()
    assert written == (PROJECT / "dagster.yaml").read_text()


def test_a_run_that_waits_has_not_begun_and_one_at_work_has_not_ended(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    with open_instance(chosen) as instance:
        run = create_run_for_test(instance, "waits")
        told = last_runs(chosen)
        instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "waits"), run_id=run.run_id
        )
        (started,) = last_runs(chosen)
    assert told == [{"job": "waits", "status": "NOT_STARTED", "started": None, "seconds": None}]
    assert started["started"]
    assert started["seconds"] is None


def test_a_home_that_has_a_configuration_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with open_instance(settings(tmp_path, dagster_home=tmp_path)):
        pass
    assert (tmp_path / "dagster.yaml").read_text() == "telemetry:\n  enabled: false\n"


def test_the_configuration_is_written_only_when_it_changes_and_at_once(
    tmp_path: Path,
) -> None:
    """A UI may read it at any moment."""
    chosen = settings(tmp_path)
    last_runs(chosen)
    config = chosen.dagster_folder / "dagster.yaml"
    before = config.stat()
    last_runs(chosen)
    assert (config.stat().st_ino, config.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    config.write_text("of an older version")
    with config.open() as reader:
        last_runs(chosen)
        assert reader.read() == "of an older version"
    assert config.read_text() == (PROJECT / "dagster.yaml").read_text()


def test_damaged_records_are_one_clear_line(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    last_runs(chosen)
    (chosen.dagster_folder / "history" / "runs.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(StoreError, match=r"records cannot be read or written \(file is not a"):
        last_runs(chosen)


def test_a_configuration_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    (chosen.dagster_folder / "dagster.yaml").mkdir(parents=True)
    with pytest.raises(StoreError, match="Is a directory"):
        last_runs(chosen)


def test_the_range_of_all_collections_is_in_the_order_of_arrival(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    assert partition_range(chosen) == ""
    with open_instance(chosen) as instance:
        register_collections(instance, ["b", "c"])
        register_collections(instance, ["a"])
    assert partition_range(chosen) == "b...a"


def _materialize(instance: dg.DagsterInstance, job: str, assets: int) -> str:
    """A run that materializes so many assets, each with a check; return its id."""
    run = create_run_for_test(instance, job)
    for number in range(assets):
        made = dg.AssetMaterialization(f"asset_{number}")
        checked = dg.AssetCheckEvaluation(
            asset_key=made.asset_key, check_name="sound", passed=True, metadata={}
        )
        for kind, data in (("materialization", made), ("check", checked)):
            instance.report_dagster_event(_event(job, kind, data), run_id=run.run_id)
    started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job)
    instance.report_dagster_event(started, run_id=run.run_id)
    return run.run_id


def _event(job: str, kind: str, data: Any) -> dg.DagsterEvent:
    if kind == "check":
        return dg.DagsterEvent(
            dg.DagsterEventType.ASSET_CHECK_EVALUATION.value, job, event_specific_data=data
        )
    from dagster._core.events import StepMaterializationData

    return dg.DagsterEvent(
        dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        job,
        event_specific_data=StepMaterializationData(data),
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file of SQLite was opened."""
    counts: Counter[str] = Counter()
    connect = sqlite3.dbapi2.connect

    def counted(database: str, *arguments: Any, **options: Any) -> sqlite3.Connection:
        counts[Path(database).name] += 1
        return connect(database, *arguments, **options)

    monkeypatch.setattr(sqlite3.dbapi2, "connect", counted)
    return counts


def test_a_run_opens_each_file_of_the_records_once(tmp_path: Path, opened: Counter[str]) -> None:
    with open_instance(settings(tmp_path)) as instance:
        _materialize(instance, "first", 1)
        with records_kept_open(instance):
            _materialize(instance, "second", 1)
            opened.clear()
            run_id = _materialize(instance, "third", 10)
        assert set(opened) <= {"index.db", "runs.db", f"{run_id}.db"}
        assert opened[f"{run_id}.db"] == 1
        assert opened["index.db"] <= 2  # a look whether a table is there, at most
        assert opened["runs.db"] <= 1
        opened.clear()
        _materialize(instance, "fourth", 1)
        assert opened["index.db"] > 2, "after the block Dagster opens them itself"


def test_records_that_carry_a_revision_are_opened_without_the_migrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_instance(settings(tmp_path)) as instance, records_kept_open(instance):
        _materialize(instance, "first", 1)

    def load(*_: object) -> None:
        raise AssertionError("the migrations are loaded")

    with monkeypatch.context() as patch:
        patch.setattr(ScriptDirectory, "as_revision_number", load)
        with open_instance(settings(tmp_path)) as instance, records_kept_open(instance):
            assert instance.get_runs_count() == 1
            _materialize(instance, "second", 1)
        with pytest.raises(AssertionError), open_instance(settings(tmp_path)) as instance:
            instance.run_storage.alembic_version()  # type: ignore[attr-defined]
    with open_instance(settings(tmp_path)) as instance:
        assert instance.get_runs_count() == 2


def test_the_days_of_a_run_are_one_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    one_by_one = EventLogStorage.store_event_batch
    monkeypatch.setattr(SqliteEventLogStorage, "store_event_batch", one_by_one)
    days = dg.DailyPartitionsDefinition("2026-01-01")
    names = [f"2026-01-0{number}" for number in range(1, 10)]

    @dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
    def by_day(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(context.run.run_id))

    def run(instance: dg.DagsterInstance) -> tuple[str, int]:
        commits = Counter[str]()

        def count(connection: Connection) -> None:
            commits[str(connection.engine.url)] += 1

        event.listen(Engine, "commit", count)
        try:
            tags = range_tags(dg.PartitionKeyRange(names[0], names[-1]))
            result = dg.materialize([by_day], instance=instance, tags=tags)
        finally:
            event.remove(Engine, "commit", count)
        return result.run_id, sum(commits.values())

    def told(instance: dg.DagsterInstance, run_id: str) -> list[object]:
        newest = instance.get_latest_materialization_event(by_day.key)
        assert newest is not None
        assert newest.asset_materialization is not None
        log = [(each.dagster_event_type, each.message) for each in instance.all_logs(run_id)]
        of_days = instance.get_latest_data_version_record(by_day.key, partition_key=names[3])
        assert of_days is not None
        assert of_days.run_id == newest.run_id == run_id
        return [
            newest.asset_materialization.partition,
            sorted(instance.get_materialized_partitions(by_day.key)),
            len([kind for kind, _ in log if kind == dg.DagsterEventType.ASSET_MATERIALIZATION]),
            instance.fetch_materializations(by_day.key, limit=1).records[0].partition_key,
        ]

    with open_instance(settings(tmp_path)) as instance:
        one, single = run(instance)
        before = told(instance, one)
        with records_kept_open(instance):
            other, together = run(instance)
        assert told(instance, other) == before == [names[-1], names, 9, names[-1]]
        assert "DAGSTER_EVENT_BATCH_SIZE" not in os.environ
        store_batches_at_once()
        third, at_once = run(instance)
        assert told(instance, third) == before
    assert single - together >= 2 * 8
    assert single - at_once >= 3 * 8, "those that were planned, too"


def test_batches_of_several_threads_are_all_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    one_by_one = EventLogStorage.store_event_batch
    monkeypatch.setattr(SqliteEventLogStorage, "store_event_batch", one_by_one)
    store_batches_at_once()
    with open_instance(settings(tmp_path)) as instance:
        run_id = _materialize(instance, "first", 3)
        (events, count) = instance.event_log_storage, len(instance.all_logs(run_id))
        batch = instance.all_logs(run_id)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: events.store_event_batch(batch), range(16)))
        assert len(instance.all_logs(run_id)) == 17 * count
        assert not {"_connect", "has_table", "_store_asset_event"} & vars(events).keys()


def test_the_code_location_has_it_so_for_all_commands_of_dagster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ml_assets import definitions

    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    one_by_one = EventLogStorage.store_event_batch
    monkeypatch.setattr(SqliteEventLogStorage, "store_event_batch", one_by_one)
    importlib.reload(definitions)
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "1000"
    assert SqliteEventLogStorage.store_event_batch is not one_by_one


def test_what_is_written_in_files_that_stay_open_is_there_for_others(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    with open_instance(chosen) as instance, open_instance(chosen) as other:
        with records_kept_open(instance):
            ours = [_materialize(instance, job, 2) for job in ("one", "two")]
            theirs = _materialize(other, "three", 2)
            assert {run.run_id for run in instance.get_runs()} == {*ours, theirs}
            seen = [other.all_logs(run_id) for run_id in ours]
        assert [[entry.dagster_event_type for entry in log] for log in seen] == [
            [entry.dagster_event_type for entry in other.all_logs(theirs)]
        ] * 2
    assert [check["check"] for check in latest_checks(chosen)] == ["sound"]
    shards = chosen.dagster_folder / "history" / "runs"
    assert not list(shards.glob("*.part"))
    schemas = set()
    for run_id in (*ours, theirs):
        with closing(sqlite3.connect(shards / f"{run_id}.db")) as shard:
            assert shard.execute("pragma journal_mode").fetchone() == ("wal",)
            rows = shard.execute("select name, sql from sqlite_master order by name").fetchall()
            version = shard.execute("select version_num from alembic_version").fetchall()
            schemas.add((*rows, *version))
    assert len(schemas) == 1


def test_a_run_imports_nothing_that_forgets() -> None:
    code = "import sys, ml_assets.defs.run; print(*{'pyarrow', 'numpy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
