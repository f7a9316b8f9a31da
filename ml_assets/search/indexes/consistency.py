"""What the data tests of the search measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg import sql

from ml_assets.embeddings.refresh import partition_name
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.model import Generation, Index, Vector
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

PROBE_WORDS = 12

COMPARED = 10_000
"""So many chunks at most are compared one by one: at 145,000, all took 5 s and 250 MB."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A query whose answer is known: the first words of a live document, and its vector."""

    document_id: str
    text: str
    vector: Vector


def compare_with_tables(
    connection: postgres.Connection, indexes: Sequence[Index], *, whole: bool = False
) -> list[dict[str, Any]]:
    """What each index lacks, has too much and has in an old revision, with an example.

    All are compared if `whole` is asked, up to `COMPARED` chunks, and when an index holds another
    number of them than are live; else a half of `COMPARED` changed last, and as many at random,
    which may not show a chunk that is there in the place of another. pgvector stores no revisions:
    PostgreSQL itself keeps it equal to the vectors.
    """
    live = postgres.read_counts(connection, statement("postgres/search/indexes/count_live"))[
        "chunks"
    ]
    sizes = {index.kind: index.size() for index in indexes}
    whole = whole or live <= COMPARED or any(size != live for size in sizes.values())
    bound = {"size": None if whole else COMPARED // 2}
    expected: dict[str, bytes] = dict(
        connection.execute(
            statement("postgres/search/indexes/live_revisions"), bound, binary=True
        ).fetchall()
    )
    asked = None if whole else list(expected)
    return [
        {
            "index": index.kind,
            "expected": live,
            "held": sizes[index.kind],
            "compared": len(expected),
            **_differences(expected, _held(index, expected, asked)),
        }
        for index in indexes
    ]


def _held(
    index: Index, expected: Mapping[str, bytes], asked: Sequence[str] | None
) -> dict[str, bytes]:
    if isinstance(index, ChromaIndex | FaissIndex | KeywordIndex):
        return dict(index.revisions(asked))
    return {chunk_id: expected.get(chunk_id, b"") for chunk_id in index.ids(asked)}


def _differences(expected: Mapping[str, bytes], held: Mapping[str, bytes]) -> dict[str, Any]:
    missing, extra = expected.keys() - held.keys(), held.keys() - expected.keys()
    outdated = {name for name in expected.keys() & held.keys() if held[name] != expected[name]}
    return {
        "missing": len(missing),
        "extra": len(extra),
        "outdated": len(outdated),
        "example": min(missing or extra or outdated, default=""),
    }


def find_probe(connection: postgres.Connection, generation: Generation) -> Probe | None:
    """A query with a known answer, always the same for the same documents; None without any."""
    row = connection.execute(
        sql.SQL(statement("postgres/search/indexes/find_probe")).format(
            partition=sql.Identifier(partition_name(generation.space_id))
        ),
        binary=True,
    ).fetchone()
    if row is None:
        return None
    document_id, text, embedding = row
    words = " ".join(text.split()[:PROBE_WORDS])
    return Probe(document_id, words, embedding.to_numpy().astype(np.float32))
