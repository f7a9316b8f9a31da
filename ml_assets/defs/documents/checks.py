"""Checks of the group `documents`."""

import dagster as dg

from ml_assets.defs.resources import PostgresResource
from ml_assets.documents.collections import unread_collections
from ml_assets.documents.quality import count_identities, count_rejected, count_uncovered


@dg.asset_check(asset="raw_documents", blocking=True)
def documents_have_one_id_each(postgres: PostgresResource) -> dg.AssetCheckResult:
    """No document id is empty, and none stands twice."""
    with postgres.connect() as connection:
        counts = count_identities(connection)
    return dg.AssetCheckResult(
        passed=counts["empty"] == 0 and counts["duplicates"] == 0, metadata=counts
    )


@dg.asset_check(asset="raw_documents")
def rows_were_readable(postgres: PostgresResource) -> dg.AssetCheckResult:
    """No row of the source was quarantined; those that were are in `rejected_documents`."""
    with postgres.connect() as connection:
        rejected, examples = count_rejected(connection)
    return dg.AssetCheckResult(
        passed=rejected == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"rejected": rejected, "examples": dg.MetadataValue.json(examples)},
    )


@dg.asset_check(asset="raw_documents")
def collections_were_readable(postgres: PostgresResource) -> dg.AssetCheckResult:
    """Every collection could be read the last time; one that could not stays as it was."""
    with postgres.connect() as connection:
        unread = unread_collections(connection)
    return dg.AssetCheckResult(
        passed=not unread,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"unread": len(unread), "reasons": dg.MetadataValue.json(unread)},
    )


CHECKS_OF_DOCUMENTS = [documents_have_one_id_each, rows_were_readable, collections_were_readable]
"""The checks of `raw_documents`, which records them itself when it fails."""


@dg.asset_check(asset="chunks", blocking=True)
def chunks_are_pieces_of_their_documents(postgres: PostgresResource) -> dg.AssetCheckResult:
    """Every live document has chunks, and every chunk is its document's text at its offsets.

    In a large corpus texts are compared for the documents that changed last, and random ones.
    """
    with postgres.connect() as connection:
        counts = count_uncovered(connection)
    return dg.AssetCheckResult(passed=not any(counts.values()), metadata=counts)
