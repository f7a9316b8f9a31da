"""The sensors: one follows the source, one runs the automation conditions."""

from collections.abc import Iterator

import dagster as dg

from ml_assets.defs.jobs import refresh_documents
from ml_assets.defs.partitions import range_tags, ranges_apart
from ml_assets.defs.resources import EncoderResource, OpenSource, PostgresResource
from ml_assets.defs.unfinished import collections_to_run
from ml_assets.errors import UserError
from ml_assets.operations.pending import difference, find_pending


@dg.sensor(
    job=refresh_documents,
    minimum_interval_seconds=60,
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
    changes, by the nightly schedule, or by hand.
    """
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


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)
