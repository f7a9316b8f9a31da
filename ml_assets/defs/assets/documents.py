"""Assets of the group `documents`: the source's collections, its documents, their chunks."""

import dagster as dg

from ml_assets.defs.automation import ON_NEW_DATA
from ml_assets.defs.metadata import OWNERS, data_version, delta_metadata, table
from ml_assets.defs.partitions import COLLECTIONS, SINGLE_RUN, register_collections
from ml_assets.defs.progress import StageProgress
from ml_assets.defs.resources import PostgresResource
from ml_assets.documents.refresh import (
    chunk_versions,
    content_versions,
    refresh_chunks,
    refresh_documents,
)
from ml_assets.documents.sources import open_source
from ml_assets.embeddings.space import current_chunker
from ml_assets.settings import Settings


@dg.asset(
    group_name="documents",
    kinds={"python"},
    owners=OWNERS,
    code_version="1",
    backfill_policy=SINGLE_RUN,
)
def collections(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    """The collections of the source, registered as the partitions of what follows."""
    source = open_source(settings.source, settings)
    present = source.collections()
    added = register_collections(context.instance, present)
    return dg.MaterializeResult(
        metadata={
            "source": source.name,
            "collections": len(present),
            "new": len(added),
            "names": table([{"collection": name} for name in present]),
        },
        data_version=data_version(sorted(present.items())),
    )


@dg.asset(
    group_name="documents",
    kinds={"postgres"},
    owners=OWNERS,
    code_version="1",
    deps=[collections],
    partitions_def=COLLECTIONS,
    backfill_policy=SINGLE_RUN,
    pool="source",
)
def raw_documents(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """Rows of `documents`, equal to the source; what left it is tombstoned."""
    names = context.partition_keys
    with postgres.connect() as connection, progress.stage("documents") as report:
        deltas = refresh_documents(
            connection,
            open_source(settings.source, settings),
            names,
            max_removed_fraction=settings.max_removed_fraction,
            run_id=context.run.run_id,
            progress=report,
        )
        versions = content_versions(connection, names)
    for name, delta in deltas.items():
        context.add_asset_metadata(delta_metadata(delta), partition_key=name)
    return dg.MaterializeResult(data_version=data_version(sorted(versions.items())))


@dg.asset(
    group_name="documents",
    kinds={"postgres"},
    owners=OWNERS,
    code_version="1",
    deps=[raw_documents],
    partitions_def=COLLECTIONS,
    backfill_policy=SINGLE_RUN,
    automation_condition=ON_NEW_DATA,
)
def chunks(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    postgres: PostgresResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """Rows of `chunks`: pieces of the documents that the embedding model reads whole."""
    names = context.partition_keys
    chunker = current_chunker(settings)
    with postgres.connect() as connection, progress.stage("chunks") as report:
        deltas = refresh_chunks(
            connection, chunker, names, run_id=context.run.run_id, progress=report
        )
        versions = chunk_versions(connection, names)
    for name, delta in deltas.items():
        context.add_asset_metadata(
            {**delta_metadata(delta), "chunker": chunker.fingerprint}, partition_key=name
        )
    return dg.MaterializeResult(data_version=data_version(sorted(versions.items())))
