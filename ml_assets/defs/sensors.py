"""The sensors: for the source, the labels, workers that are gone, and automation conditions."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from ml_assets.defs.assets import key
from ml_assets.defs.instance import end_lost_runs, runs_at_work
from ml_assets.defs.jobs import load_predictions, refresh_documents, train_models
from ml_assets.defs.monitoring.alerting import opened_stores
from ml_assets.defs.partitions import range_tags, ranges_apart
from ml_assets.defs.resources import (
    EncoderResource,
    MlflowResource,
    OfflineStoreResource,
    OpenSource,
    PostgresResource,
)
from ml_assets.defs.unfinished import collections_to_run, open_checks_of_documents
from ml_assets.embeddings.refresh import stale_collections
from ml_assets.errors import UserError
from ml_assets.monitoring.alerting.evaluation import evaluate
from ml_assets.monitoring.predictions import waiting_days
from ml_assets.operations.pending import difference, find_pending
from ml_assets.settings import Settings
from ml_assets.training.training_set import changed_labels

_SECONDS = 10
"""Between two looks. A look at files asks their file system alone, if none was written."""

_AT_WORK = "A run is at work; the next look comes when it has ended"


@dg.sensor(
    job=refresh_documents,
    minimum_interval_seconds=_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def collections_sensor(
    context: dg.SensorEvaluationContext,
    source: dg.ResourceParam[OpenSource],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request the collections whose fingerprint changed, and only those.

    The run key holds what the source has and what the tables hold, so that one difference is
    requested once: a run that fails is repeated once for what it left behind, then when the source
    changes, by the nightly schedule, or by hand. While a run is at work the tables are halfway.
    """
    if runs_at_work(context.instance):
        yield dg.SkipReason(_AT_WORK)
        return
    try:
        opened = source()
        chunker, space = encoder.chunker(), encoder.space()
        with postgres.connect() as connection:
            pending = find_pending(connection, opened, chunker, space)
            digest = difference(connection, pending, opened, chunker, space)
    except UserError as error:
        yield dg.SkipReason(str(error))
        return
    wanted = collections_to_run(context.instance, pending)
    if not wanted:
        yield dg.SkipReason(f"{len(pending.present)} collections of {opened.name}, none changed")
    for keys in ranges_apart(context.instance, wanted, pending.unread):
        yield dg.RunRequest(run_key=f"{keys.start}...{keys.end}:{digest}", tags=range_tags(keys))


@dg.sensor(
    job=train_models,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def labels_sensor(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request models anew when so many labelled documents changed, or any did so long ago.

    The first models are requested as soon as there are labels. A training that fails is requested
    again a day later, or when as many labels changed again. What a killed run left without vectors
    is waited for: features of half a document would stay as they are.
    """
    if runs_at_work(context.instance):
        yield dg.SkipReason(_AT_WORK)
        return
    trained = context.instance.get_latest_materialization_event(key("training_set"))
    since = datetime.fromtimestamp(trained.timestamp, UTC) if trained else None
    try:
        with postgres.connect() as connection:
            changed, first = changed_labels(connection, duckdb.reading, since)
            chunker, space_id = encoder.chunker().fingerprint, encoder.space().space_id
            behind = stale_collections(connection, chunker, space_id)
    except UserError as error:
        yield dg.SkipReason(str(error))
        return
    now = datetime.now(UTC)
    long = first and now - first >= timedelta(days=settings.retrain_after_days)
    if not changed or (trained and changed < settings.retrain_after_labels and not long):
        yield dg.SkipReason(f"{changed} labelled documents changed since the last training")
    elif behind:
        yield dg.SkipReason(f"{len(behind)} collections wait for their vectors, as {behind[0]}")
    elif checks := open_checks_of_documents(context.instance):
        yield dg.SkipReason(f"{checks[0].to_user_string()} did not pass")
    else:
        step = changed // settings.retrain_after_labels
        yield dg.RunRequest(run_key=f"{since}:{step}:{now:%Y-%m-%d}")


@dg.sensor(
    job=load_predictions,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def predictions_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request the days of which closed segments wait in the spool of this home.

    The same segments are requested once an hour, should a run have failed.
    """
    if runs_at_work(context.instance):
        yield dg.SkipReason(_AT_WORK)
        return
    waiting = waiting_days(settings.home)
    if not waiting:
        yield dg.SkipReason("No segment waits")
    hour = f"{datetime.now(UTC):%Y-%m-%dT%H}"
    for day, names in waiting.items():
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
        yield dg.RunRequest(run_key=f"{day}:{digest}:{hour}", partition_key=f"{day}")


@dg.sensor(minimum_interval_seconds=_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def workers_sensor(
    context: dg.SensorEvaluationContext, postgres: PostgresResource, mlflow: MlflowResource
) -> dg.SkipReason:
    """End the runs whose worker is gone, so that the others come to their turn.

    They end as failed, and Dagster asks for them again (`run_retries` of `dagster.yaml`).
    """
    if not runs_at_work(context.instance):
        return dg.SkipReason("No run is under way")
    try:
        with postgres.connect() as connection:
            lost = end_lost_runs(context.instance, connection, lambda: mlflow.tracking)
    except UserError as error:
        return dg.SkipReason(str(error))
    ended = ", ".join(run.run_id for run in lost)
    return dg.SkipReason(f"Ended {ended}" if ended else "Every worker is at work")


@dg.sensor(minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def alerts_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SkipReason:
    """Evaluate the rules of alerts, and tell what is to be told; it requests no run.

    Where chDB is embedded, a run has it: the next look comes when that has ended.
    """
    if not settings.clickhouse_url and runs_at_work(context.instance):
        return dg.SkipReason(_AT_WORK)
    try:
        with opened_stores(context.instance, settings) as stores:
            return dg.SkipReason(str(evaluate(stores, datetime.now(UTC))))
    except UserError as error:
        return dg.SkipReason(str(error))


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    use_user_code_server=True,  # Dagster's daemon knows no condition but its own
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=_SECONDS,
)
