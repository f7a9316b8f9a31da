"""What the data tests of the search measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg import sql

from ml_assets.embeddings.refresh import partition_name
from ml_assets.search.chroma import ChromaIndex
from ml_assets.search.keyword import KeywordIndex
from ml_assets.search.model import Generation, Index, Vector
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

PROBE_WORDS = 12


@dataclass(frozen=True, slots=True)
class Probe:
    """A query whose answer is known: the first words of a live document, and its vector."""

    document_id: str
    text: str
    vector: Vector


def live_revisions(connection: postgres.Connection) -> dict[str, bytes]:
    """The present revision of each chunk of a live document, by its id."""
    rows = connection.execute(statement("postgres/search/live_revisions"), binary=True)
    return dict(rows.fetchall())


def compare_revisions(
    expected: Mapping[str, bytes], indexes: Iterable[Index]
) -> list[dict[str, Any]]:
    """What each index holds, lacks, has too much and has in an old revision, with an example.

    pgvector stores no revisions: PostgreSQL itself keeps it equal to the vectors.
    """
    rows = []
    for index in indexes:
        held = _held(index, expected)
        missing, extra = expected.keys() - held.keys(), held.keys() - expected.keys()
        outdated = {name for name in expected.keys() & held.keys() if held[name] != expected[name]}
        rows.append(
            {
                "index": index.kind,
                "expected": len(expected),
                "held": len(held),
                "missing": len(missing),
                "extra": len(extra),
                "outdated": len(outdated),
                "example": min(missing or extra or outdated, default=""),
            }
        )
    return rows


def _held(index: Index, expected: Mapping[str, bytes]) -> dict[str, bytes]:
    if isinstance(index, ChromaIndex | KeywordIndex):
        return dict(index.revisions())
    return {chunk_id: expected.get(chunk_id, b"") for chunk_id in index.ids()}


def find_probe(connection: postgres.Connection, generation: Generation) -> Probe | None:
    """A query with a known answer, always the same for the same documents; None without any."""
    row = connection.execute(
        sql.SQL(statement("postgres/search/find_probe")).format(
            partition=sql.Identifier(partition_name(generation.space_id))
        ),
        binary=True,
    ).fetchone()
    if row is None:
        return None
    document_id, text, embedding = row
    words = " ".join(text.split()[:PROBE_WORDS])
    return Probe(document_id, words, embedding.to_numpy().astype(np.float32))
