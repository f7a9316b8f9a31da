"""Assets of the group `monitoring`: time series of trainings and model versions."""

from dataclasses import asdict

import dagster as dg

from ml_assets.defs.assets import asset, data_version, described, table
from ml_assets.defs.resources import ClickHouseResource, PostgresResource
from ml_assets.monitoring.metrics import (
    copy_model_performance,
    copy_training_metrics,
    training_series,
)


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
