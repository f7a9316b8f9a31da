"""Checks of the group `monitoring`."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from ml_assets.defs.assets import check
from ml_assets.defs.resources import ClickHouseResource
from ml_assets.monitoring.hourly import read_anomalies
from ml_assets.monitoring.predictions import late_segments, missing_records
from ml_assets.settings import Settings

_SHOWN = 10


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


def _warning(wrong: list[str], do: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "found": len(wrong),
            **({"examples": "; ".join(wrong[:_SHOWN]), "do": do} if wrong else {}),
        },
    )
