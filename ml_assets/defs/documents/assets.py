"""Assets of the group `documents`: the source's collections, its documents, their chunks."""

from collections.abc import Iterator
from typing import cast

import dagster as dg

from ml_assets.defs.assets import (
    DAILY,
    asset,
    data_version,
    key,
    relation,
    rows_of_partition,
    table,
)
from ml_assets.defs.automation import ON_NEW_DATA
from ml_assets.defs.documents.checks import CHECKS_OF_DOCUMENTS
from ml_assets.defs.partitions import COLLECTIONS, register_collections
from ml_assets.defs.resources import EncoderResource, OpenSource, PostgresResource
from ml_assets.documents.refresh import (
    DocumentsReport,
    chunk_versions,
    refresh_chunks,
    refresh_documents,
)
from ml_assets.errors import IncompleteReadError
from ml_assets.progress import StageProgress
from ml_assets.search.generation import chunkers_beside
from ml_assets.settings import Settings

RAW_DOCUMENTS = key("raw_documents")


@asset(kinds={"python"}, freshness_policy=DAILY)
def collections(
    context: dg.AssetExecutionContext, source: dg.ResourceParam[OpenSource]
) -> dg.MaterializeResult:
    """The collections of the source, registered as the partitions of what follows."""
    opened = source()
    present = opened.collections()
    added = register_collections(context.instance, present)
    return dg.MaterializeResult(
        metadata={
            "source": opened.name,
            "collections": len(present),
            "new": len(added),
            "names": table([{"collection": name} for name in present]),
        },
        data_version=data_version(sorted(present.items())),
    )


@asset(kinds={"postgres"}, deps=[collections], partitions_def=COLLECTIONS, pool="source")
def raw_documents(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    source: dg.ResourceParam[OpenSource],
    postgres: PostgresResource,
    progress: dg.ResourceParam[StageProgress],
    thorough: dg.ResourceParam[bool],
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.MaterializeResult]:
    """Rows of `documents`, equal to the source; what left it is tombstoned.

    A collection that cannot be read fails its own partition; the others are materialized.
    """
    with postgres.connect() as connection, progress("documents") as step:
        report = refresh_documents(
            connection,
            source(),
            context.partition_keys,
            max_removed_fraction=settings.max_removed_fraction,
            run_id=context.run.run_id,
            progress=step,
        )
        shown = relation(connection, "documents")
    version = data_version(sorted(report.versions.items()))
    if report.unread:
        yield from _left_behind(report, version, postgres=postgres, thorough=thorough)
        raise IncompleteReadError(report.unread)
    for name, delta in report.deltas.items():
        rows = rows_of_partition(delta, report.versions.get(name))
        context.add_asset_metadata(rows, partition_key=name)
    yield dg.MaterializeResult(metadata=shown, data_version=version)


def _left_behind(
    report: DocumentsReport, version: dg.DataVersion, **resources: object
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """What a step that fails leaves behind: the collections read, and the checks.

    Dagster itself materializes all partitions of a step or none, and skips the checks on it;
    without them automation would not go on with what was read.
    """
    for name, delta in report.deltas.items():
        yield dg.AssetMaterialization(
            RAW_DOCUMENTS,
            partition=name,
            metadata=rows_of_partition(delta, report.versions.get(name)),
            tags={"dagster/data_version": version.value},
        )
    for check in CHECKS_OF_DOCUMENTS:
        (spec,) = check.check_specs
        asked = {
            name: resources[name] for name in resources if name in check.required_resource_keys
        }
        result = cast("dg.AssetCheckResult", check(**asked))
        yield dg.AssetCheckEvaluation(
            RAW_DOCUMENTS,
            spec.name,
            result.passed,
            result.metadata,
            severity=result.severity,
            blocking=spec.blocking,
        )


@asset(
    kinds={"postgres"},
    deps=[raw_documents],
    partitions_def=COLLECTIONS,
    automation_condition=ON_NEW_DATA,
)
def chunks(
    context: dg.AssetExecutionContext,
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """Rows of `chunks`: pieces of the documents that the embedding model reads whole.

    Of the chunker that the settings describe, and beside it of those whose generations are kept.
    """
    names = context.partition_keys
    chunker = encoder.chunker()
    with postgres.connect() as connection, progress("chunks") as report:
        deltas = refresh_chunks(
            connection,
            chunker,
            names,
            beside=chunkers_beside(connection, chunker, encoder.space().space_id),
            run_id=context.run.run_id,
            progress=report,
        )
        versions = chunk_versions(connection, names)
        shown = relation(connection, "chunks")
    for name, delta in deltas.items():
        rows = rows_of_partition(delta, versions.get(name))
        context.add_asset_metadata({**rows, "chunker": chunker.fingerprint}, partition_key=name)
    return dg.MaterializeResult(metadata=shown, data_version=data_version(sorted(versions.items())))
