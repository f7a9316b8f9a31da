"""Whether the indexes hold the chunks of the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml_assets.search.generation import on_vectors
from ml_assets.search.indexes.contract import AnyIndex
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

COMPARED = 10_000
"""So many chunks at most are compared one by one."""


def compare_with_tables(
    connection: postgres.Connection, indexes: Sequence[AnyIndex], *, whole: bool = False
) -> list[dict[str, Any]]:
    """What each index lacks, has too much and has in an old revision, with an example.

    All are compared if `whole` is asked, up to `COMPARED` chunks, and when an index holds another
    number of them than are live; else a half of `COMPARED` changed last, and as many at random,
    which may not show a chunk that is there in the place of another. Where a store keeps itself
    equal to the tables, there are no revisions to compare.
    """
    generation = indexes[0].generation
    count = on_vectors(generation, statement("postgres/search/indexes/count_live"))
    live = postgres.read_counts(connection, count)["chunks"]
    sizes = {index.kind: index.size() for index in indexes}
    whole = whole or live <= COMPARED or any(size != live for size in sizes.values())
    name = "all_live_revisions" if whole else "live_revisions"
    query = on_vectors(generation, statement(f"postgres/search/indexes/{name}"))
    rows = connection.execute(query, {"size": COMPARED // 2}, binary=True)
    expected: dict[str, bytes] = dict(rows.fetchall())
    asked = None if whole else list(expected)
    return [
        {
            "index": index.kind,
            "expected": live,
            "indexed": sizes[index.kind],
            "compared": len(expected),
            **_differences(expected, dict(index.revisions(asked))),
        }
        for index in indexes
    ]


def _differences(
    expected: Mapping[str, bytes], indexed: Mapping[str, bytes | None]
) -> dict[str, Any]:
    missing, extra = expected.keys() - indexed.keys(), indexed.keys() - expected.keys()
    outdated = {
        chunk_id
        for chunk_id in expected.keys() & indexed.keys()
        if indexed[chunk_id] not in (None, expected[chunk_id])
    }
    return {
        "missing": len(missing),
        "extra": len(extra),
        "outdated": len(outdated),
        "example": min(missing or extra or outdated, default=""),
    }
