"""The sensors: one follows the source, one runs the automation conditions."""

import hashlib
from collections.abc import Iterator, Mapping

import dagster as dg

from ml_assets.defs.jobs import refresh_documents
from ml_assets.defs.partitions import range_tags, ranges_apart, register_collections
from ml_assets.defs.resources import EncoderResource, PostgresResource, SourceResource
from ml_assets.defs.unfinished import unfinished_collections
from ml_assets.documents.refresh import GONE, unread_collections
from ml_assets.embeddings.refresh import collections_to_refresh
from ml_assets.errors import UserError
from ml_assets.operations.finished import count_changes
from ml_assets.stores import postgres as store


@dg.sensor(
    job=refresh_documents,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def collections_sensor(
    context: dg.SensorEvaluationContext,
    source: dg.ResourceParam[SourceResource],
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request the collections whose fingerprint changed, and only those.

    The run key holds what the source has and what the tables hold, so that one difference is
    requested once: a run that fails is repeated once for what it left behind, then when the source
    changes, by the nightly schedule, or by hand.
    """
    try:
        opened = source.open()
        present = opened.collections()
        chunker, space = encoder.chunker, encoder.space
    except UserError as error:
        yield dg.SkipReason(str(error))
        return
    with postgres.connect() as connection:
        wanted = collections_to_refresh(connection, opened, chunker, space)
        unread = unread_collections(connection)
        held = _held(connection, present)
    register_collections(context.instance, sorted({*present, *wanted}))
    wanted = sorted({*wanted, *unfinished_collections(context.instance, present)})
    if not wanted:
        yield dg.SkipReason(f"{len(present)} collections of {opened.name}, none changed")
    for keys in ranges_apart(context.instance, wanted, unread):
        state = [opened.name, chunker.fingerprint, space.space_id, sorted(present.items()), held]
        digest = hashlib.sha256(repr(state).encode()).hexdigest()[:16]
        yield dg.RunRequest(run_key=f"{keys.start}...{keys.end}:{digest}", tags=range_tags(keys))


def _held(connection: store.Connection, present: Mapping[str, str]) -> list[object]:
    """What the tables hold, as far as reading a collection again and finding it equal is no news.

    The time of reading tells a difference from an earlier one between the same two fingerprints.
    """
    rows = connection.execute(
        "select collection, fingerprint, refreshed_at from collections order by collection"
    ).fetchall()
    read = [
        (name, fingerprint, None if present.get(name, GONE) == fingerprint else refreshed_at)
        for name, fingerprint, refreshed_at in rows
    ]
    return [read, count_changes(connection)]


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)
