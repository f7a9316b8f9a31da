"""The daily schedule."""

from collections.abc import Iterator

import dagster as dg

from ml_assets.defs.jobs import everything
from ml_assets.defs.partitions import contiguous_ranges, range_tags, register_collections
from ml_assets.documents.sources import open_source
from ml_assets.settings import Settings


@dg.schedule(
    job=everything,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def daily_refresh(
    context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Every night: the whole lineage over every collection; what did not change costs nothing."""
    present = open_source(settings.source, settings).collections()
    register_collections(context.instance, present)
    for keys in contiguous_ranges(context.instance, present):
        yield dg.RunRequest(tags=range_tags(keys))
