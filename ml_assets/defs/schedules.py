"""The daily schedules."""

from collections.abc import Iterator, Mapping
from datetime import UTC, timedelta

import dagster as dg

from ml_assets.defs.assets import key
from ml_assets.defs.jobs import everything, watch_drift, watch_search
from ml_assets.defs.partitions import (
    PARTITIONS_NAME,
    range_tags,
    ranges_apart,
    register_collections,
)
from ml_assets.defs.resources import OpenSource, PostgresResource
from ml_assets.documents.collections import unread_collections
from ml_assets.errors import OutageError, UserError

_DOCUMENTS = [key(name) for name in ("raw_documents", "chunks", "embeddings")]


@dg.schedule(
    job=everything,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def daily_refresh(
    context: dg.ScheduleEvaluationContext,
    source: dg.ResourceParam[OpenSource],
    postgres: PostgresResource,
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Every night: all collections, and with the last of them search and models, once.

    Those that could not be read the last time come first: a run that one of them fails ends there.
    What did not change costs little. The queue works the runs off in this order. They are asked for
    although PostgreSQL is away: a run waits for it, and is started again until it is back.
    """
    try:
        register_collections(context.instance, source().collections())
    except UserError as error:
        yield dg.SkipReason(str(error))
        return
    # Collections that left the source too: their documents are removed by being read again.
    registered = context.instance.get_dynamic_partitions(PARTITIONS_NAME)
    ranges = ranges_apart(context.instance, registered, _unread(postgres))
    if not ranges:
        yield dg.SkipReason("The source has no collection")
        return
    *others, last = reversed(ranges)
    for keys in others:
        yield dg.RunRequest(asset_selection=_DOCUMENTS, tags=range_tags(keys))
    yield dg.RunRequest(tags=range_tags(last))


@dg.schedule(
    job=watch_drift,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def daily_drift(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every night: the day that ended, once its documents are in."""
    return _day_that_ended(context)


@dg.schedule(
    job=watch_search,
    cron_schedule="45 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def daily_search_quality(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every night: how search was on the day that ended."""
    return _day_that_ended(context)


def _day_that_ended(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    day = context.scheduled_execution_time.astimezone(UTC) - timedelta(days=1)
    return dg.RunRequest(partition_key=f"{day:%Y-%m-%d}")


def _unread(postgres: PostgresResource) -> Mapping[str, str]:
    try:
        with postgres.connect() as connection:
            return unread_collections(connection)
    except OutageError:
        return {}
