"""The asset `prediction_log` over a range of days, its checks and its sensor."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from ml_assets.defs import sensors
from ml_assets.defs.build import build_definitions
from ml_assets.defs.monitoring.assets import prediction_log
from ml_assets.defs.monitoring.checks import no_prediction_is_missing, no_segment_is_left
from ml_assets.defs.partitions import range_tags
from ml_assets.monitoring.predictions import PREDICTIONS, Predicted, record_of
from ml_assets.monitoring.spool.segments import closed_segments, encode, place_of
from ml_assets.operations.pending import last_finish
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.graph import evaluate, shown
from ml_assets_tests.operations.finishing import end_a_run, of_one_document

TODAY = datetime.now(UTC)
YESTERDAY = TODAY - timedelta(days=1)


def write(home: Path, at: datetime, *sequences: int) -> None:
    """A segment of a day, as a writer leaves it."""
    place = place_of(home, PREDICTIONS)
    place.mkdir(parents=True, exist_ok=True)
    records = [
        record_of(
            Predicted(
                at=at,
                request_id=f"r{sequence}",
                position=0,
                release_id=1,
                model="classifier",
                version=3,
                text_hash="",
                text=None,
                label="a",
                probability=1.0,
                probabilities={"a": 1.0},
                features={},
                latency_ms=4.0,
            )
        )
        | {"sequence": sequence}
        for sequence in sequences
    ]
    name = f"{at:%Y-%m-%d}.{'a' * 32}.{sequences[0]:012}.jsonl"
    (place / name).write_bytes(b"".join(map(encode, records)))


def test_a_range_of_days_is_one_run_and_again_changes_nothing(
    settings: Settings, resources: dict[str, object], instance: dg.DagsterInstance
) -> None:
    write(settings.home, YESTERDAY, 1, 2)
    write(settings.home, TODAY, 3)

    def run() -> dg.ExecuteInProcessResult:
        keys = dg.PartitionKeyRange(f"{YESTERDAY:%Y-%m-%d}", f"{TODAY:%Y-%m-%d}")
        return dg.materialize(
            [prediction_log, no_prediction_is_missing, no_segment_is_left],
            resources=resources,
            instance=instance,
            tags=range_tags(keys),
        )

    first, again = run(), run()
    for result, loaded in ((first, 2), (again, 0)):
        events = result.asset_materializations_for_node("prediction_log")
        by_day = {event.partition: event.metadata for event in events}
        assert [by_day[day]["dagster/partition_row_count"].value for day in sorted(by_day)] == [
            2,
            1,
        ]
        assert by_day[min(by_day)]["added"].value == loaded
        assert "| classifier | 3 | 2 |" in shown(by_day[min(by_day)]["predictions"])
        checks = result.get_asset_check_evaluations()
        assert [check.passed for check in checks] == [True, True]
    versions = [
        event.tags["dagster/data_version"]
        for result in (first, again)
        for event in result.asset_materializations_for_node("prediction_log")
    ]
    assert len(set(versions)) == 1

    write(settings.home, TODAY, 9)
    (missing, _) = run().get_asset_check_evaluations()
    assert (missing.passed, missing.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "predictions 4-8" in str(missing.metadata["examples"].value)


def test_a_segment_that_is_left_is_named(settings: Settings) -> None:
    assert passed(settings)
    write(settings.home, YESTERDAY, 1)
    assert passed(settings)
    (segment,) = closed_segments(place_of(settings.home, PREDICTIONS))
    then = time.time() - 25 * 3600
    os.utime(segment.path, (then, then))
    assert not passed(settings)


def passed(settings: Settings) -> bool:
    result = no_segment_is_left(settings=settings)
    assert isinstance(result, dg.AssetCheckResult)
    return bool(result.passed)


@pytest.fixture
def tick(settings: Settings, instance: dg.DagsterInstance) -> Any:
    def look() -> list[Any]:
        context = dg.build_sensor_context(instance=instance)
        found: Iterator[Any] = evaluate(sensors.predictions_sensor, context, settings=settings)
        return list(found)

    return look


def test_what_the_sensor_has_loaded_asks_for_no_run(
    settings: Settings,
    postgres_url: str,
    connection: postgres.Connection,
    instance: dg.DagsterInstance,
    tick: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POSTGRES_URL", postgres_url)  # where the resources look for it
    ended = of_one_document(settings, postgres_url, tmp_path)
    end_a_run(connection, ended)
    write(ended.home, YESTERDAY, 1)
    assert last_finish(ended) is None, "predictions wait"
    job = build_definitions(ended).resolve_job_def("load_predictions")
    for request in tick():
        tags = {"dagster/partition": request.partition_key}
        run = instance.create_run_for_job(job, tags=tags)
        told = [*execute_run_iterator(InMemoryJob(job), run, instance)]
        assert not [event for event in told if event.is_failure]
    assert tick()[0].skip_message == "No segment waits"
    assert last_finish(ended) is not None


def test_days_are_requested_while_their_segments_wait(settings: Settings, tick: Any) -> None:
    (skipped,) = tick()
    assert skipped.skip_message == "No segment waits"
    write(settings.home, TODAY, 2)
    write(settings.home, YESTERDAY, 1)
    first, second = tick()
    assert first.partition_key == f"{YESTERDAY:%Y-%m-%d}"
    assert second.partition_key == f"{TODAY:%Y-%m-%d}"
    assert [each.run_key for each in tick()] == [first.run_key, second.run_key]
    write(settings.home, TODAY, 3)
    assert tick()[1].run_key != second.run_key
