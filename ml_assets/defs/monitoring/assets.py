"""Assets of the group `monitoring`: time series of trainings and model versions, predictions."""

from collections import Counter
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from ml_assets.defs.assets import (
    asset,
    data_version,
    plot,
    relation,
    relation_of_duckdb,
    table,
)
from ml_assets.defs.monitoring.alerting import opened_stores
from ml_assets.defs.monitoring.shown import (
    anomaly_plots,
    by_day,
    last_version,
    marks,
    relation_of,
    series_of,
    sizes_shown,
    trend_plots,
)
from ml_assets.defs.partitions import DAYS
from ml_assets.defs.resources import (
    ClickHouseResource,
    OfflineStoreResource,
    PostgresResource,
)
from ml_assets.delta import Delta
from ml_assets.monitoring.alerting.evaluation import evaluate
from ml_assets.monitoring.alerting.ledger import read_events, read_open
from ml_assets.monitoring.anomalies import DAY, midnight
from ml_assets.monitoring.daily import (
    ANSWERS,
    performance_by_day,
    record_search_quality,
    roll_up_days,
    search_quality,
)
from ml_assets.monitoring.hourly import hourly, level_changes, roll_up, watch
from ml_assets.monitoring.metrics import (
    copy_model_performance,
    copy_training_metrics,
    training_series,
)
from ml_assets.monitoring.plots import MOST_SERIES, comparison_plot
from ml_assets.monitoring.predictions import Loaded, count_predictions, load_day, performance
from ml_assets.monitoring.recording import count_by_day, open_metrics, points_of_days, record
from ml_assets.monitoring.trends import family_trends, trends_of
from ml_assets.releases.pointer import list_releases
from ml_assets.search.evaluation.metrics import NDCG
from ml_assets.settings import Settings
from ml_assets.stores.metrics import Window
from ml_assets.training.experiments import experiment_statistics
from ml_assets.training.results import read_summaries

_MOST_RUNS = 200
"""Candidates that are looked at: those of the last thirty trainings or so."""

_DAYS_TOGETHER = 31
"""Days whose points are in memory at once."""

_SHOWN = ("macro_f1", "log_loss", "fit_seconds", "one_text_p95_ms")


@asset(
    kinds={"clickhouse"},
    deps=["candidate_models", "registered_model", "champion_model"],
    pool="clickhouse",
)
def training_metrics(
    postgres: PostgresResource, clickhouse: ClickHouseResource
) -> dg.MaterializeResult:
    """What every training and embedding reported by step, and the metrics of model versions.

    Each with host, process and device, and the version and the release that came of it.
    """
    with postgres.connect() as connection, clickhouse.connect() as client:
        trainings = copy_training_metrics(connection, client)
        versions = copy_model_performance(connection, client)
        series = training_series(client)
        shown = relation_of(client, "training_metrics")
    total = trainings + versions
    return dg.MaterializeResult(
        metadata={
            **asdict(total),
            **shown,
            "outcome": f"{total.touched} points written" if total.touched else "nothing to copy",
            "training_points": trainings.total,
            "model_performance_points": versions.added + versions.unchanged,
            "series": table(series[-40:]),
        },
        data_version=data_version(trainings.total, series),
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
        relation = relation_of(client, "prediction_log")
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
    with clickhouse.connect() as client:
        roll_up(client, days[0], days[-1])
        hours = hourly(client, days[0], days[-1])
        relation = relation_of(client, "model_performance_hourly")
    for day, of_day in by_day(days, hours, lambda row: row["hour"].date()).items():
        shown = {"dagster/partition_row_count": len(of_day), "hours": table(of_day)}
        context.add_asset_metadata(shown, partition_key=f"{day}")
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
                **anomaly_plots(client, day, of_day),
            }
            context.add_asset_metadata(shown, partition_key=f"{day}")
        levels = table(level_changes(client, days[-1], datetime.now(UTC)))
        relation = {**relation_of(client, "anomalies"), "levels": levels}
    return dg.MaterializeResult(
        metadata={**relation, "outcome": f"{len(found)} anomalies on {len(days)} days"},
        data_version=data_version(found),
    )


@asset(
    kinds={"clickhouse"}, deps=["model_performance_hourly"], partitions_def=DAYS, pool="clickhouse"
)
def model_performance_daily(
    context: dg.AssetExecutionContext, postgres: PostgresResource, clickhouse: ClickHouseResource
) -> dg.MaterializeResult:
    """How each model version answered on a day: the hours merged, latency by its sketches."""
    days = [date.fromisoformat(name) for name in context.partition_keys]
    with clickhouse.connect() as client:
        roll_up_days(client, days[0], days[-1])
        rows = performance_by_day(client, days[0], days[-1])
        relation = relation_of(client, "model_performance_daily")
    for day, of_day in by_day(days, rows).items():
        shown = {"dagster/partition_row_count": len(of_day), "versions": table(of_day)}
        context.add_asset_metadata(shown, partition_key=f"{day}")
    with postgres.connect() as connection:
        releases = marks(list_releases(connection), "model_version")
    trends = [
        trend
        for (model, version), of_version in sorted(series_of(rows, "model", "version").items())
        for trend in trends_of(
            f"{model}/{version}",
            of_version,
            "day",
            ("predictions", "probability", "p95_ms", "accuracy"),
        )
    ]
    return dg.MaterializeResult(
        metadata={
            **relation,
            **trend_plots(trends, releases),
            "outcome": f"{len(rows)} days of model versions",
            "trends": table([trend.row() for trend in trends[-40:]]),
        },
        data_version=data_version(rows),
    )


@asset(
    kinds={"clickhouse"},
    deps=["search_evaluation", "published_search"],
    partitions_def=DAYS,
    pool="clickhouse",
)
def search_quality_daily(
    context: dg.AssetExecutionContext, postgres: PostgresResource, clickhouse: ClickHouseResource
) -> dg.MaterializeResult:
    """How good and how fast each search generation was on a day, by its last measurement."""
    days = [date.fromisoformat(name) for name in context.partition_keys]
    with postgres.connect() as connection, clickhouse.connect() as client:
        record_search_quality(connection, client, days, datetime.now(UTC))
        rows = search_quality(client, days[0], days[-1])
        relation = relation_of(client, "search_quality_daily")
        releases = marks(list_releases(connection), "generation_id")
    for day, of_day in by_day(days, rows).items():
        shown = {"dagster/partition_row_count": len(of_day), "quality": table(of_day)}
        context.add_asset_metadata(shown, partition_key=f"{day}")
    series = series_of(rows, "generation_id", "method", "metric")
    trends = [
        trend
        for (identity, method, metric), of_metric in sorted(series.items())
        if method == ANSWERS and metric in (NDCG, "p95_ms")
        for trend in trends_of(
            identity, [{**row, metric: row["value"]} for row in of_metric], "day", (metric,)
        )
    ]
    return dg.MaterializeResult(
        metadata={
            **relation,
            **trend_plots(trends, releases),
            "outcome": f"{len(rows)} numbers of {len(days)} days",
            "trends": table([trend.row() for trend in trends[-40:]]),
        },
        data_version=data_version(rows),
    )


@asset(kinds={"duckdb"}, deps=["candidate_models", "champion_model"], pool="duckdb")
def experiment_analytics(
    context: dg.AssetExecutionContext, postgres: PostgresResource, duckdb: OfflineStoreResource
) -> dg.MaterializeResult:
    """The last trainings side by side, and how quality and costs of each family develop.

    Pictures are drawn when there is something new: they take longer than all of the rest.
    """
    with duckdb.reading() as duck:
        summaries = read_summaries(duck, _MOST_RUNS)
        described_view = relation_of_duckdb(duck, "experiment_summary")
    with postgres.connect() as connection:
        counts = experiment_statistics(connection)
        releases = marks(list_releases(connection), "model_version")
    trends = family_trends(summaries)
    last, families = summaries[-MOST_SERIES:], {each.family for each in summaries}
    version = data_version([each.run_id for each in summaries], releases)
    pictures = (
        {}
        if version == last_version(context) or not last
        else {
            "comparison_plot": plot(comparison_plot(last)),
            **trend_plots([each for each in trends if each.metric in _SHOWN], releases),
        }
    )
    return dg.MaterializeResult(
        metadata={
            "outcome": f"{len(summaries)} trainings of {len(families)} families"
            + ("" if pictures or not last else "; nothing changed since the last pictures"),
            **described_view,
            "statistics": table(counts),
            "runs": table([asdict(each) for each in last]),
            "trends": table([trend.row() for trend in trends]),
            **pictures,
        },
        data_version=version,
    )


@asset(
    kinds={"clickhouse"},
    deps=["training_metrics", "prediction_log", "search_quality_daily", "feature_drift"],
    partitions_def=DAYS,
    pool="clickhouse",
)
def metric_points(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
    clickhouse: ClickHouseResource,
) -> dg.MaterializeResult:
    """What was read, trained, searched and answered on a day, as points in the store of metrics.

    The store is kept in order at that: what is old is compressed, and dropped at last.
    """
    days = [date.fromisoformat(name) for name in context.partition_keys]
    now, delta, counts = datetime.now(UTC), Delta(), Counter[date]()
    with clickhouse.connect() as client, open_metrics(settings, client) as store:
        kept_since = midnight(store.first_day(now))
        for first in range(0, len(days), _DAYS_TOGETHER):
            part = days[first : first + _DAYS_TOGETHER]
            window = Window(midnight(part[0]), midnight(part[-1] + DAY))
            with postgres.connect() as connection, duckdb.reading() as duck:
                points = points_of_days(connection, duck, client, window)
            delta += record(store, points, kept_since)
            counts.update(count_by_day(points))
        done, sizes = store.maintain(now), store.sizes()
    for day in days:
        shown = {"dagster/partition_row_count": counts[day]}
        context.add_asset_metadata(shown, partition_key=f"{day}")
    return dg.MaterializeResult(
        metadata={
            **asdict(delta),
            **sizes_shown(sizes),
            "outcome": f"{delta.touched} points written"
            if delta.touched
            else "nothing to record that is not there",
            "maintenance": "; ".join(done) or "nothing to do",
        },
        data_version=data_version(sorted(counts.items())),
    )


@asset(
    kinds={"postgres"},
    deps=["anomalies", "feature_drift", "metric_points"],
    partitions_def=DAYS,
    pool="clickhouse",
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
        end = midnight(days[-1] + DAY)
        events = read_events(stores.connection, midnight(days[0]), end)
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
