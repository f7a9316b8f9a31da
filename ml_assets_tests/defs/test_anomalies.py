"""The assets of hours and anomalies over a range of days, and the check."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from ml_assets.defs.monitoring.assets import anomalies, model_performance_hourly
from ml_assets.defs.monitoring.checks import nothing_is_extraordinary
from ml_assets.defs.partitions import range_tags
from ml_assets.settings import Settings
from ml_assets.stores import clickhouse
from ml_assets_tests.graph import shown

DAYS = 24
"""Three weeks say what is expected of an hour, and each day costs events of Dagster."""

HOURS = DAYS * 24
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)

PREDICTIONS = """
insert into prediction_log (day, writer, sequence, at, request_id, position, model, version,
    label, probability, latency_ms)
select toDate(time), 'w', number, time, toString(number), 0, 'classifier', 1, 'a',
    if(number >= {from:UInt32}, 0.5, 0.9 + (number % 7) / 100), 4 + number % 5
from (
    select number, toDateTime({begin:DateTime}, 'UTC') + interval number hour as time
    from numbers({hours:UInt32})
)
"""


def fill(settings: Settings, unsure: int) -> None:
    """A prediction an hour until now, the last ones `unsure`."""
    bound = {
        "begin": NOW - HOURS * timedelta(hours=1),
        "hours": HOURS,
        "from": HOURS - unsure,
    }
    with clickhouse.connect(None, settings.home) as client:
        client.command("truncate table prediction_log")
        client.command(PREDICTIONS, bound)


def run(
    resources: Mapping[str, object], instance: dg.DagsterInstance, days: int
) -> dg.ExecuteInProcessResult:
    """Materialize both for the last days until today."""
    keys = [f"{NOW - back * timedelta(days=1):%Y-%m-%d}" for back in (days - 1, 0)]
    return dg.materialize(
        [model_performance_hourly, anomalies, nothing_is_extraordinary],
        resources=resources,
        instance=instance,
        tags=range_tags(dg.PartitionKeyRange(*keys)),
    )


def of_today(result: dg.ExecuteInProcessResult, name: str) -> Mapping[str, dg.MetadataValue[Any]]:
    events = {each.partition: each for each in result.asset_materializations_for_node(name)}
    return events[f"{NOW:%Y-%m-%d}"].metadata


@pytest.mark.parametrize("unsure", [0, 6])
def test_what_is_extraordinary_is_a_warning_with_a_picture(
    settings: Settings, resources: dict[str, object], instance: dg.DagsterInstance, unsure: int
) -> None:
    fill(settings, unsure)
    result = run(resources, instance, DAYS + 2)
    hours = result.asset_materializations_for_node("model_performance_hourly")
    counts = [each.metadata["dagster/partition_row_count"].value for each in hours]
    assert (len(hours), sum(counts)) == (DAYS + 2, HOURS)
    (checked,) = result.get_asset_check_evaluations()
    assert (checked.passed, checked.severity) == (not unsure, dg.AssetCheckSeverity.WARN)
    if unsure:
        # After midnight the hours that were unsure are those of yesterday.
        assert "probability of classifier: 0.5" in str(checked.metadata["examples"].value)
    events = result.asset_materializations_for_node("anomalies")
    plots = {name for each in events for name in each.metadata if name.startswith("plot_")}
    assert plots == ({"plot_classifier_probability"} if unsure else set())


def test_hours_are_shown(
    settings: Settings, resources: dict[str, object], instance: dg.DagsterInstance
) -> None:
    fill(settings, 0)
    result = run(resources, instance, 2)
    days = result.asset_materializations_for_node("model_performance_hourly")
    yesterday = min(days, key=lambda each: each.partition or "")
    assert yesterday.metadata["dagster/partition_row_count"].value == 24
    assert "| classifier | 1 | 1 |" in shown(yesterday.metadata["hours"])
    assert of_today(result, "anomalies")["dagster/partition_row_count"].value == 0
