"""What the data tests of the search measure."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg import sql

from ml_assets.embeddings.refresh import partition_name
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


def live_chunk_ids(connection: postgres.Connection) -> set[str]:
    """The ids of all chunks of live documents."""
    rows = postgres.run(connection, statement("postgres/search/live_chunk_ids"))
    return {chunk_id for (chunk_id,) in rows}


def compare_ids(expected: Set[str], indexes: Iterable[Index]) -> list[dict[str, Any]]:
    """What each index holds, what it lacks and what it has too much, with an example."""
    rows = []
    for index in indexes:
        held = index.ids()
        missing, extra = expected - held, held - expected
        rows.append(
            {
                "index": index.kind,
                "expected": len(expected),
                "held": len(held),
                "missing": len(missing),
                "extra": len(extra),
                "example": min(missing or extra, default=""),
            }
        )
    return rows


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
