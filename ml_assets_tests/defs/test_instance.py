"""Dagster's records: opened, read, and refused with one clear line when they cannot be."""

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ml_assets.defs.instance import (
    last_runs,
    latest_checks,
    measured_rate,
    open_instance,
    partition_range,
)
from ml_assets.defs.partitions import register_collections
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
