"""The sensors: one follows the source, one runs the automation conditions."""

import hashlib
from collections.abc import Iterator

import dagster as dg

from ml_assets.defs.jobs import refresh_documents
from ml_assets.defs.partitions import range_tags, ranges_apart, register_collections
from ml_assets.defs.resources import PostgresResource
from ml_assets.documents.refresh import unread_collections
from ml_assets.documents.sources import open_source
from ml_assets.embeddings.refresh import collections_to_refresh
from ml_assets.embeddings.space import current_chunker, current_space
from ml_assets.errors import UserError
from ml_assets.settings import Settings


@dg.sensor(
    job=refresh_documents,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def collections_sensor(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request the collections whose fingerprint changed, and only those.

    The run key holds what the source has and what the tables hold, so that one difference is
    requested once: a run that fails is repeated when the source changes, by the nightly schedule,
    or by hand.
    """
    try:
        source = open_source(settings.source, settings)
        present = source.collections()
        chunker, space = current_chunker(settings), current_space(settings)
    except UserError as error:
        yield dg.SkipReason(str(error))
        return
    with postgres.connect() as connection:
        wanted = collections_to_refresh(connection, source, chunker, space)
        unread = unread_collections(connection)
        held = connection.execute(
            "select collection, fingerprint, refreshed_at from collections order by collection"
        ).fetchall()
    register_collections(context.instance, sorted({*present, *wanted}))
    if not wanted:
        yield dg.SkipReason(f"{len(present)} collections of {source.name}, none changed")
    for keys in ranges_apart(context.instance, wanted, unread):
        state = [source.name, chunker.fingerprint, space.space_id, sorted(present.items()), held]
        digest = hashlib.sha256(repr(state).encode()).hexdigest()[:16]
        yield dg.RunRequest(run_key=f"{keys.start}...{keys.end}:{digest}", tags=range_tags(keys))


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)
