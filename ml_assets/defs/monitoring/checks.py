"""Checks of the group `monitoring`."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from ml_assets.defs.assets import check
from ml_assets.defs.resources import (
    ClickHouseResource,
    OfflineStoreResource,
    PostgresResource,
)
from ml_assets.monitoring.daily import MOST_LOST, unlike_their_hours, worse_searches
from ml_assets.monitoring.hourly import read_anomalies
from ml_assets.monitoring.metrics import unlike_the_history
from ml_assets.monitoring.predictions import late_segments, missing_records
from ml_assets.monitoring.recording import open_metrics
from ml_assets.monitoring.trends import family_trends
from ml_assets.settings import Settings
from ml_assets.stores.metrics import advice
from ml_assets.training.results import read_summaries

_SHOWN = 10
_MOST_RUNS = 200


@check(asset="prediction_log")
def no_prediction_is_missing(
    settings: dg.ResourceParam[Settings], clickhouse: ClickHouseResource
) -> dg.AssetCheckResult:
    """Every record that a process of the service counted is loaded, or waits in the spool.

    It warns: what was dropped because the spool was full, or torn by a kill, does not come back.
    """
    with clickhouse.connect() as client:
        gaps = missing_records(client, settings.home)
    return _warning(gaps, "See `ml_assets_lost` of /metrics; ML_ASSETS_PREDICTION_LOG_BYTES bounds")


@check(asset="prediction_log")
def no_segment_is_left(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """No segment of the spool was written more than a day ago and is not loaded."""
    late = late_segments(settings.home, datetime.now(UTC))
    return _warning(late, "Materialize prediction_log for the day that begins its name")


@check(asset="anomalies")
def nothing_is_extraordinary(clickhouse: ClickHouseResource) -> dg.AssetCheckResult:
    """Neither today nor yesterday a model answered in another way than it used to."""
    today = datetime.now(UTC).date()
    with clickhouse.connect() as client:
        found = read_anomalies(client, today - timedelta(days=1), today)
    told = [
        f"{each.metric} of {each.model}: {each.value:.4g} instead of {each.expected:.4g}"
        f" since {each.began_at:%Y-%m-%d %H:%M}"
        for each in found
    ]
    return _warning(told, "Look at the pictures of the day; `ml-assets rollback` undoes a release")


@check(asset="training_metrics")
def training_metrics_are_whole(
    postgres: PostgresResource, clickhouse: ClickHouseResource
) -> dg.AssetCheckResult:
    """Every step that a training reported is in ClickHouse, and nothing else."""
    with postgres.connect() as connection, clickhouse.connect() as client:
        wrong = unlike_the_history(connection, client)
    return _warning(
        wrong, "Delete the rows of these runs from training_metrics, and materialize it again"
    )


@check(asset="model_performance_daily")
def days_are_the_sum_of_their_hours(clickhouse: ClickHouseResource) -> dg.AssetCheckResult:
    """Of the last week, each day has as many predictions as its hours, and its p95 lies in them."""
    today = datetime.now(UTC).date()
    with clickhouse.connect() as client:
        wrong = unlike_their_hours(client, today - timedelta(days=6), today)
    return _warning(wrong, "Materialize model_performance_daily for these days")


@check(asset="search_quality_daily")
def search_did_not_get_worse(clickhouse: ClickHouseResource) -> dg.AssetCheckResult:
    """What serves now has at most 0.05 less nDCG@10 than what served on the days of a month."""
    today = datetime.now(UTC).date()
    with clickhouse.connect() as client:
        wrong = worse_searches(client, today - timedelta(days=30), today)
    return _warning(wrong, "Look at `ml-assets search-generations`; `ml-assets rollback` goes back")


@check(asset="metric_points")
def chunks_have_a_good_size(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """A chunk of TimescaleDB has 100,000 to 1 million points; else the interval to set is named.

    Other stores have a partition for each day, whatever is in it.
    """
    if settings.metrics_kind == "clickhouse":  # it is not opened for that
        return _warning([], "")
    with open_metrics(settings) as store:
        sizes = store.sizes()
    told = advice(sizes.points) if sizes.has_intervals else None
    return _warning([told] if told else [], "Run this statement in the database of TIMESERIES_URL")


@check(asset="experiment_analytics")
def families_did_not_get_worse(duckdb: OfflineStoreResource) -> dg.AssetCheckResult:
    """The last training of each family is within 0.05 macro-F1 of its moving average."""
    with duckdb.reading() as duck:
        trends = family_trends(read_summaries(duck, _MOST_RUNS))
    told = [
        f"{each.name}: macro-F1 {each.last:.3f}, {each.moving_average:.3f} on average"
        for each in trends
        if each.metric == "macro_f1" and each.moving_average - each.last > MOST_LOST
    ]
    return _warning(told, "Compare with `ml-assets trends FAMILY`, and look at the documents")


def _warning(wrong: list[str], do: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "found": len(wrong),
            **({"examples": "; ".join(wrong[:_SHOWN]), "do": do} if wrong else {}),
        },
    )
