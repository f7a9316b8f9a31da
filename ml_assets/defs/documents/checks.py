"""Checks of the group `documents`."""

import dagster as dg

from ml_assets.defs.assets import check, problems_result
from ml_assets.defs.resources import PostgresResource
from ml_assets.documents.collections import unread_collections
from ml_assets.documents.quality import (
    damaged_chunks,
    damaged_documents,
    damaged_rejections,
    read_rejected,
)
from ml_assets.problem import EXAMPLES


@check(asset="raw_documents", blocking=True)
def documents_are_as_they_were_read(
    postgres: PostgresResource, thorough: dg.ResourceParam[bool]
) -> dg.AssetCheckResult:
    """No document was added, removed or changed by another hand.

    In a large corpus contents are compared for the documents that changed last, and random ones;
    for all in a run with `--all`, or after the stores were changed behind its back.
    """
    with postgres.connect() as connection:
        return problems_result(damaged_documents(connection, whole=thorough))


@check(asset="raw_documents")
def rows_were_readable(postgres: PostgresResource) -> dg.AssetCheckResult:
    """No row of the source was quarantined; `ml-assets rejected` lists those that were."""
    with postgres.connect() as connection:
        rows, rejected = read_rejected(connection, EXAMPLES)
    examples = [f"{row.location}: {row.reason}" for row in rows]
    return dg.AssetCheckResult(
        passed=rejected == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"rejected": rejected, "examples": dg.MetadataValue.json(examples)},
    )


@check(asset="raw_documents")
def quarantined_rows_are_as_they_were_read(
    postgres: PostgresResource, thorough: dg.ResourceParam[bool]
) -> dg.AssetCheckResult:
    """No quarantined row was added, removed or changed by another hand.

    It blocks nothing: nothing is made of them.
    """
    with postgres.connect() as connection:
        problems = damaged_rejections(connection, whole=thorough)
    return problems_result(problems, dg.AssetCheckSeverity.WARN)


@check(asset="raw_documents")
def collections_were_readable(postgres: PostgresResource) -> dg.AssetCheckResult:
    """Every collection could be read the last time; one that could not stays as it was."""
    with postgres.connect() as connection:
        unread = unread_collections(connection)
    return dg.AssetCheckResult(
        passed=not unread,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"unread": len(unread), "reasons": dg.MetadataValue.json(unread)},
    )


CHECKS_OF_DOCUMENTS = [
    documents_are_as_they_were_read,
    rows_were_readable,
    quarantined_rows_are_as_they_were_read,
    collections_were_readable,
]
"""The checks of `raw_documents`, which records them itself when it fails."""


@check(asset="chunks", blocking=True)
def chunks_are_pieces_of_their_documents(
    postgres: PostgresResource, thorough: dg.ResourceParam[bool]
) -> dg.AssetCheckResult:
    """Every live document has its chunks, and every chunk is its document's text at its offsets.

    Texts are compared as the contents of documents are.
    """
    with postgres.connect() as connection:
        return problems_result(damaged_chunks(connection, whole=thorough))
