"""The asset of the group `embeddings`: one vector per chunk in the current vector space."""

from datetime import UTC, datetime

import dagster as dg

from ml_assets.defs.assets import asset, data_version, relation, rows_of_partition
from ml_assets.defs.automation import ON_NEW_DATA
from ml_assets.defs.partitions import COLLECTIONS
from ml_assets.defs.resources import EncoderResource, PostgresResource
from ml_assets.embeddings.refresh import pending_tokens, refresh_embeddings
from ml_assets.embeddings.runs import record_run
from ml_assets.progress import StageProgress
from ml_assets.usage import usage_sampled


@asset(
    kinds={"postgres", "huggingface"},
    deps=["chunks"],
    partitions_def=COLLECTIONS,
    automation_condition=ON_NEW_DATA,
    pool="encoder",
)
def embeddings(
    context: dg.AssetExecutionContext,
    encoder: dg.ResourceParam[EncoderResource],
    postgres: PostgresResource,
    progress: dg.ResourceParam[StageProgress],
) -> dg.MaterializeResult:
    """Rows of `document_embeddings`: equal texts are embedded once per vector space."""
    names = context.partition_keys
    space, run_id, started = encoder.space(), context.run.run_id, datetime.now(UTC)
    with postgres.connect() as connection:
        with progress("embeddings") as step, usage_sampled() as usage:
            report = refresh_embeddings(
                connection,
                space,
                lambda: encoder.load(pending_tokens(connection, space)),
                names,
                run_id=run_id,
                progress=step,
            )
        if report.encoded:
            record_run(connection, run_id, space.space_id, report.encoded, started, usage)
        table = relation(connection, "document_embeddings")
    for name, delta in report.deltas.items():
        rows = rows_of_partition(delta, space.space_id, report.versions.get(name))
        context.add_asset_metadata(rows, partition_key=name)
    return dg.MaterializeResult(
        metadata={
            **table,
            "vector_space": space.space_id,
            "model": space.model,
            "encoded_in_this_run": report.encoded,
            "reused_in_this_run": report.reused,
            "peak_memory_mib": usage.peak_memory_mib,
        },
        data_version=data_version(space.space_id, sorted(report.versions.items())),
    )
