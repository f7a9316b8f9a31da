"""Assets of the group `monitoring`: time series of trainings and model versions, predictions."""

from dataclasses import asdict
from datetime import date
from typing import Any

import dagster as dg

from ml_assets.defs.assets import asset, data_version, described, table
from ml_assets.defs.partitions import DAYS
from ml_assets.defs.resources import ClickHouseResource, PostgresResource
from ml_assets.monitoring.metrics import (
    copy_model_performance,
    copy_training_metrics,
    training_series,
)
from ml_assets.monitoring.predictions import Loaded, count_predictions, load_day, performance
from ml_assets.settings import Settings


@asset(kinds={"clickhouse"}, deps=["candidate_models", "registered_model"], pool="clickhouse")
def training_metrics(
    postgres: PostgresResource, clickhouse: ClickHouseResource
) -> dg.MaterializeResult:
    """Metrics by epoch or iteration of every training, and those of every model version."""
    with postgres.connect() as connection, clickhouse.connect() as client:
        trainings = copy_training_metrics(connection, client)
        versions = copy_model_performance(connection, client)
        series = training_series(client)
        described_table = client.query("describe table training_metrics").result_rows
        columns = [(name, kind) for name, kind, *_ in described_table]
        shown = described(f"{client.database}.training_metrics", columns, trainings.total)
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
        described_table = client.query("describe table prediction_log").result_rows
        ((rows,),) = client.query("select count() from prediction_log final").result_rows
        columns = [(name, kind) for name, kind, *_ in described_table]
        relation = described(f"{client.database}.prediction_log", columns, rows)
    return dg.MaterializeResult(
        metadata={**relation, "outcome": f"{total.added} records of {total.segments} segments"},
        data_version=data_version(counts),
    )
