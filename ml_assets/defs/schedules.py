"""The daily schedule."""

from collections.abc import Iterator

import dagster as dg

from ml_assets.defs.jobs import everything
from ml_assets.defs.partitions import (
    PARTITIONS_NAME,
    range_tags,
    ranges_apart,
    register_collections,
)
from ml_assets.defs.resources import OpenSource, PostgresResource
from ml_assets.documents.collections import unread_collections


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
    """Every night: the whole lineage over every collection; what did not change costs nothing."""
    register_collections(context.instance, source().collections())
    # Collections that left the source too: their documents are removed by being read again.
    registered = context.instance.get_dynamic_partitions(PARTITIONS_NAME)
    with postgres.connect() as connection:
        unread = unread_collections(connection)
    for keys in ranges_apart(context.instance, registered, unread):
        yield dg.RunRequest(tags=range_tags(keys))
