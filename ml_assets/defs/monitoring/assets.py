"""Assets of the group `monitoring`: time series of trainings and model versions, predictions."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.defs.assets import asset, data_version, described, plot, relation, table
from ml_assets.defs.monitoring.alerting import opened_stores
from ml_assets.defs.partitions import DAYS
from ml_assets.defs.resources import ClickHouseResource, PostgresResource
from ml_assets.monitoring.alerting.evaluation import evaluate
from ml_assets.monitoring.alerting.ledger import read_events, read_open
from ml_assets.monitoring.anomalies import DAY
from ml_assets.monitoring.hourly import (
    Found,
    hourly,
    level_changes,
    read_series,
    roll_up,
    watch,
)
from ml_assets.monitoring.metrics import (
    copy_model_performance,
    copy_training_metrics,
    training_series,
)
from ml_assets.monitoring.plots import anomaly_plot
from ml_assets.monitoring.predictions import Loaded, count_predictions, load_day, performance
from ml_assets.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_MOST_PLOTS = 6


@asset(kinds={"clickhouse"}, deps=["candidate_models", "registered_model"], pool="clickhouse")
def training_metrics(
    postgres: PostgresResource, clickhouse: ClickHouseResource
) -> dg.MaterializeResult:
    """Metrics by epoch or iteration of every training, and those of every model version."""
    with postgres.connect() as connection, clickhouse.connect() as client:
        trainings = copy_training_metrics(connection, client)
        versions = copy_model_performance(connection, client)
        series = training_series(client)
        shown = _relation(client, "training_metrics")
    total = trainings + versions
    return dg.MaterializeResult(
        metadata={
            **asdict(total),
            **shown,
            "outcome": f"{total.added} points written" if total.added else "nothing to copy",
            "training_points": trainings.added + trainings.unchanged,
            "model_performance_points": versions.added + versions.unchanged,
            "series": table(series[-40:]),
        },
        data_version=data_version(trainings.added + trainings.unchanged, series),
    )


@asset(kinds={"clickhouse"}, deps=["champion_model"], partitions_def=DAYS, pool="clickhouse")
def prediction_log(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    clickhouse: ClickHouseResource,
) -> dg.MaterializeResult:
    """What the service predicted on a day, and was told of it: each segment of its spool once."""
    total = Loaded()
    counts: list[dict[str, Any]] = []
    with clickhouse.connect() as client:
        for name in context.partition_keys:
            day = date.fromisoformat(name)
            loaded = load_day(client, settings.home, day)
            of_day = count_predictions(client, day)
            counts += of_day
            total += loaded
            shown: dict[str, Any] = {
                **asdict(loaded),
                "dagster/partition_row_count": sum(row["predictions"] for row in of_day),
                "predictions": table(of_day),
                "performance": table(performance(client, day)),
            }
            context.add_asset_metadata(shown, partition_key=name)
        relation = _relation(client, "prediction_log")
    return dg.MaterializeResult(
        metadata={**relation, "outcome": f"{total.added} records of {total.segments} segments"},
        data_version=data_version(counts),
    )


@asset(kinds={"clickhouse"}, deps=["prediction_log"], partitions_def=DAYS, pool="clickhouse")
def model_performance_hourly(
    context: dg.AssetExecutionContext, clickhouse: ClickHouseResource
) -> dg.MaterializeResult:
    """How each model version answered in the hours of a day: how often, how sure, how fast."""
    days = [date.fromisoformat(name) for name in context.partition_keys]
    hours: list[dict[str, Any]] = []
    with clickhouse.connect() as client:
        roll_up(client, days[0], days[-1])
        for day in days:
            of_day = hourly(client, day)
            hours += of_day
            shown = {"dagster/partition_row_count": len(of_day), "hours": table(of_day)}
            context.add_asset_metadata(shown, partition_key=f"{day}")
        relation = _relation(client, "model_performance_hourly")
    return dg.MaterializeResult(
        metadata={**relation, "outcome": f"{len(hours)} hours"}, data_version=data_version(hours)
    )


@asset(
    kinds={"clickhouse"}, deps=["model_performance_hourly"], partitions_def=DAYS, pool="clickhouse"
)
def anomalies(
    context: dg.AssetExecutionContext, clickhouse: ClickHouseResource
) -> dg.MaterializeResult:
    """What was out of the ordinary in the answers of a day, by the ten weeks before it."""
    days = [date.fromisoformat(name) for name in context.partition_keys]
    with clickhouse.connect() as client:
        found = watch(client, days, datetime.now(UTC))
        for day in days:
            of_day = [each for each in found if each.day == day]
            shown = {
                "dagster/partition_row_count": len(of_day),
                "anomalies": table([asdict(each) for each in of_day]),
                **_plots(client, day, of_day),
            }
            context.add_asset_metadata(shown, partition_key=f"{day}")
        levels = table(level_changes(client, days[-1], datetime.now(UTC)))
        relation = {**_relation(client, "anomalies"), "levels": levels}
    return dg.MaterializeResult(
        metadata={**relation, "outcome": f"{len(found)} anomalies on {len(days)} days"},
        data_version=data_version(found),
    )


@asset(
    kinds={"postgres"}, deps=["anomalies", "feature_drift"], partitions_def=DAYS, pool="clickhouse"
)
def alerts(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult:
    """What happened to alerts on a day, and who was told; the rules are evaluated as of now."""
    days = [date.fromisoformat(name) for name in context.partition_keys]
    with opened_stores(context.instance, settings) as stores:
        evaluated = evaluate(stores, datetime.now(UTC))
        opened = read_open(stores.connection)
        begin = datetime.combine(days[0], time(), UTC)
        end = datetime.combine(days[-1] + DAY, time(), UTC)
        events = read_events(stores.connection, begin, end)
        shown = relation(stores.connection, "alert_events")
    for day in days:
        of_day = [event for event in events if event["at"].astimezone(UTC).date() == day]
        told = {"dagster/partition_row_count": len(of_day), "events": table(of_day)}
        context.add_asset_metadata(told, partition_key=f"{day}")
    return dg.MaterializeResult(
        metadata={
            **shown,
            "outcome": str(evaluated),
            "open": table([{"alert": alert.name, **asdict(alert)} for alert in opened]),
        },
        data_version=data_version(events),
    )


def _plots(client: "Client", day: date, found: Sequence[Found]) -> dict[str, dg.MetadataValue]:
    """A picture of two weeks of each metric that was out of the ordinary."""
    metrics = sorted({(each.model, each.metric) for each in found})
    return {
        f"plot_{model}_{metric}": plot(
            anomaly_plot(
                f"{metric} of {model}",
                read_series(client, model, metric, day - 13 * DAY, day),
                [each for each in found if (each.model, each.metric) == (model, metric)],
            )
        )
        for model, metric in metrics[:_MOST_PLOTS]
    }


def _relation(client: "Client", name: str) -> dict[str, Any]:
    """What the UI shows of a table of ClickHouse."""
    described_table = client.query(f"describe table {name}").result_rows
    ((rows,),) = client.query(f"select count() from {name}").result_rows  # noqa: S608
    columns = [(column, kind) for column, kind, *_ in described_table]
    return described(f"{client.database}.{name}", columns, rows)
