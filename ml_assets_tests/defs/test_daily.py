"""The assets of days over a range, their pictures, and the checks of monitoring that can fail."""

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from psycopg.types.json import Jsonb

from ml_assets.defs import run as prompt
from ml_assets.defs import schedules
from ml_assets.defs.monitoring import checks
from ml_assets.defs.monitoring.assets import (
    experiment_analytics,
    metric_points,
    model_performance_daily,
    model_performance_hourly,
    search_quality_daily,
)
from ml_assets.defs.monitoring.checks import (
    chunks_have_a_good_size,
    days_are_the_sum_of_their_hours,
    families_did_not_get_worse,
    search_did_not_get_worse,
    training_metrics_are_whole,
)
from ml_assets.defs.partitions import range_tags
from ml_assets.releases.audit import Entry
from ml_assets.releases.pointer import Parts, publish
from ml_assets.settings import Settings, load_settings
from ml_assets.stores import clickhouse, duckdb, metrics, postgres
from ml_assets_tests.graph import evaluate, shown

TODAY = datetime.now(UTC).date()
DAYS = 3

PREDICTIONS = """
insert into prediction_log (day, writer, sequence, at, request_id, position, model, version,
    label, probability, latency_ms)
select toDate(time, 'UTC'), 'w', number + 1, time, toString(number), 0, 'classifier',
    1 + number % 2, 'a', 0.9, 4 + number % 5
from (
    select number, toDateTime({begin:Date}, 'UTC') + interval number hour as time
    from numbers({hours:UInt32})
)
"""

TRAININGS = """
insert into experiment_performance
    (run_id, training_set_hash, family, fingerprint, split, label, metric, value, logged_at)
select format('{:04d}', i), i, 'linear', 'f', 'test', '', 'macro_f1',
    case when i = 5 then $last else 0.8 end, timestamptz '2026-01-01' + interval (i) day
from range(6) each(i)
"""

Resources = Mapping[str, object]


def run(
    resources: Resources, instance: dg.DagsterInstance, *assets: object
) -> dg.ExecuteInProcessResult:
    """Materialize assets for the last days until today, in one run."""
    first = TODAY - timedelta(days=DAYS - 1)
    return dg.materialize(
        assets,  # type: ignore[arg-type]
        resources=resources,
        instance=instance,
        tags=range_tags(dg.PartitionKeyRange(f"{first}", f"{TODAY}")),
    )


def checked(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = result.get_asset_check_evaluations()
    assert found.severity == dg.AssetCheckSeverity.WARN
    return found


def test_days_are_one_run_with_a_picture_of_each_metric(
    settings: Settings, resources: Resources, instance: dg.DagsterInstance
) -> None:
    first = TODAY - timedelta(days=DAYS - 1)
    with clickhouse.connect(None, settings.home) as client:
        client.command(PREDICTIONS, {"begin": first, "hours": 24 * DAYS})
    result = run(
        resources,
        instance,
        model_performance_hourly,
        model_performance_daily,
        days_are_the_sum_of_their_hours,
    )
    events = result.asset_materializations_for_node("model_performance_daily")
    assert [each.partition for each in events] == [f"{first + timedelta(days=n)}" for n in range(3)]
    assert [each.metadata["dagster/partition_row_count"].value for each in events] == [2, 2, 2]
    assert f"| {first} | classifier | 1 | 12 | 12 | 0.9 |" in shown(events[0].metadata["versions"])
    pictures = {name for name in events[-1].metadata if name.startswith("plot_")}
    assert pictures == {"plot_predictions", "plot_probability", "plot_p95_ms"}
    assert checked(result).passed
    with clickhouse.connect(None, settings.home) as client:
        client.command("alter table model_performance_daily delete where 1")
    stale = days_are_the_sum_of_their_hours(clickhouse=resources["clickhouse"])  # type: ignore[call-arg]
    assert isinstance(stale, dg.AssetCheckResult)
    assert (stale.passed, stale.metadata["found"].value) == (False, 6)


def test_search_is_told_when_it_got_worse(
    postgres_url: str, settings: Settings, resources: Resources, instance: dg.DagsterInstance
) -> None:
    def measure(days_ago: int, ndcg: float) -> None:
        quality = Jsonb({"hybrid": {"ndcg@10": ndcg}})
        at = datetime.now(UTC) - timedelta(days=days_ago, minutes=1)
        with postgres.connect(postgres_url, settings.home) as connection:
            connection.execute(
                "insert into search_measurements values ('one', %s, '', 9, %s, '{}', %s)",
                [at, quality, Jsonb({"p95_ms": 9.0})],
            )

    measure(1, 0.70)
    with postgres.connect(postgres_url, settings.home) as connection:
        entry = Entry("tester", "publish", "one", "a test", {})
        publish(connection, lambda _: Parts(generation_id="one"), entry)
    assets = (search_quality_daily, search_did_not_get_worse)
    result = run(resources, instance, *assets)
    events = result.asset_materializations_for_node("search_quality_daily")
    rows = {each.partition: each.metadata["dagster/partition_row_count"].value for each in events}
    assert rows[f"{TODAY}"] == 2
    assert {"plot_ndcg@10", "plot_p95_ms"} <= events[-1].metadata.keys()
    assert checked(result).passed
    # What serves got worse since, which only a day on which it was served before can tell.
    with clickhouse.connect(None, settings.home) as client:
        client.command(
            "insert into search_quality_daily (day, generation_id, is_served, method,"
            " metric, value) values ({day:Date}, 'zero', true, 'hybrid', 'ndcg@10', 0.76)",
            {"day": TODAY - timedelta(days=2)},
        )
    told = checked(run(resources, instance, *assets))
    assert not told.passed
    assert "generation one: ndcg@10 0.700, 0.760 at best" in str(told.metadata["examples"].value)


@pytest.mark.parametrize(("last", "passes"), [(0.78, True), (0.70, False)])
def test_a_family_that_got_worse_is_told(
    settings: Settings,
    resources: Resources,
    instance: dg.DagsterInstance,
    last: float,
    passes: bool,
) -> None:
    with duckdb.connect(settings.duckdb_file) as duck:
        duck.execute(TRAININGS, {"last": last})
    result = dg.materialize(
        [experiment_analytics, families_did_not_get_worse], resources=resources, instance=instance
    )
    assert checked(result).passed == passes
    (event,) = result.asset_materializations_for_node("experiment_analytics")
    assert event.metadata["outcome"].value == "6 trainings of 1 families"
    assert f"| linear | macro_f1 | 6 | {last}" in shown(event.metadata["trends"])
    if not passes:
        told = str(checked(result).metadata["examples"].value)
        assert told == "linear: macro-F1 0.700, 0.780 on average"


def test_steps_that_are_not_copied_are_told(
    postgres_url: str, settings: Settings, resources: Resources, instance: dg.DagsterInstance
) -> None:
    with postgres.connect(postgres_url, settings.home) as connection:
        connection.execute(
            "insert into experiments (run_id, name, description, owner, status, ended_at,"
            " training_set_hash, family, fingerprint, history) values ('run', '', '', '',"
            " 'completed', now(), 'hash', 'linear', 'f', '[[1, \"train\", \"loss\", 0.5]]')"
        )
    found = training_metrics_are_whole(  # type: ignore[call-arg]
        postgres=resources["postgres"], clickhouse=resources["clickhouse"]
    )
    assert isinstance(found, dg.AssetCheckResult)
    assert not found.passed
    assert found.metadata["examples"].value == "run run: 0 of 1 points"


def test_the_points_of_days_are_recorded_once(
    postgres_url: str, settings: Settings, resources: Resources, instance: dg.DagsterInstance
) -> None:
    first = TODAY - timedelta(days=DAYS - 1)
    with clickhouse.connect(None, settings.home) as client:
        client.command(PREDICTIONS, {"begin": first, "hours": 24 * DAYS})
    for outcome in (f"{2 * 24 * DAYS} points written", "nothing to record that is not there"):
        result = run(resources, instance, metric_points, chunks_have_a_good_size)
        events = result.asset_materializations_for_node("metric_points")
        assert [each.metadata["dagster/partition_row_count"].value for each in events] == [48] * 3
        assert events[-1].metadata["outcome"].value == outcome
        assert events[-1].metadata["points"].value == 2 * 24 * DAYS
        assert f"| {TODAY} | 48 |" in shown(events[-1].metadata["chunks"])
        assert checked(result).passed


@pytest.mark.parametrize(("rows", "told"), [(500_000, 0), (50, 1)])
def test_chunks_of_another_size_are_told_with_the_interval_to_set(
    monkeypatch: pytest.MonkeyPatch, rows: int, told: int
) -> None:
    window = metrics.Window(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC))
    chunk = metrics.Chunk("c", rows, rows, rows, window)

    def check(has_intervals: bool) -> dg.AssetCheckResult:
        sizes = metrics.Sizes(1, [chunk, chunk], [], has_intervals)
        store = SimpleNamespace(sizes=lambda: sizes)
        monkeypatch.setattr(checks, "open_metrics", lambda settings: nullcontext(store))
        settings = load_settings(timeseries_url="postgresql://unused")
        found = chunks_have_a_good_size(settings=settings)  # type: ignore[call-arg]
        assert isinstance(found, dg.AssetCheckResult)
        return found

    assert check(False).passed
    found = check(True)
    assert found.metadata["found"].value == told
    assert found.passed == (not told)
    if told:
        assert "set_chunk_time_interval" in str(found.metadata["examples"].value)


def test_only_the_first_run_of_a_day_records_days(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, executed = list[datetime](), list[Mapping[str, str]]()

    def first_unrecorded(_: object, since: datetime) -> datetime | None:
        asked.append(since)
        return since if len(asked) < 4 else None

    monkeypatch.setattr(prompt, "first_unrecorded", first_unrecorded)
    monkeypatch.setattr(prompt, "_execute", lambda run, job, tags: executed.append(tags))
    a_run = cast("Any", SimpleNamespace(instance=instance, connection=None))
    now = datetime.now(UTC)
    prompt._record_days(a_run, now)
    month = timedelta(days=30)
    assert asked == [now - month]
    assert executed == [range_tags(dg.PartitionKeyRange(f"{now - month:%Y-%m-%d}", f"{TODAY}"))]
    recorded = [
        dg.AssetMaterialization(name, partition=f"{now:%Y-%m-%d}")
        for name in ("search_quality_daily", "metric_points")
    ]
    instance.report_runless_asset_event(recorded[1])
    prompt._record_days(a_run, now)
    assert asked.pop() == now - month, "points are recorded with predictions, too"
    executed.pop()
    instance.report_runless_asset_event(recorded[0])
    instance.report_runless_asset_event(recorded[1])
    event = instance.get_latest_materialization_event(dg.AssetKey("search_quality_daily"))
    assert event is not None
    at = datetime.fromtimestamp(event.timestamp, UTC)
    prompt._record_days(a_run, at)
    assert len(asked) == len(executed) == 1, "neither a look nor a run"
    prompt._record_days(a_run, at + timedelta(days=1))
    assert asked[1:] == [at]
    prompt._record_days(a_run, at + timedelta(days=40))
    assert asked[2:] == [at + timedelta(days=10)]
    assert len(executed) == 3
    prompt._record_days(a_run, at + timedelta(days=1))
    assert len(executed) == 3, "there is nothing to record"


def test_every_night_the_day_that_ended() -> None:
    at = datetime(2026, 3, 2, 3, 45, tzinfo=UTC)
    context = dg.build_schedule_context(scheduled_execution_time=at)
    request = evaluate(schedules.daily_search_quality, context)
    assert request.partition_key == f"{date(2026, 3, 1)}"
