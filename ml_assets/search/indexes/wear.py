"""Churn wears out a graph: measuring that, and building the index anew past a threshold.

What is deleted leaves holes in the graph of HNSW, over which the walk to a neighbour may not come.
FAISS compares all, or keeps lists that close over what is removed; it trains them anew by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ml_assets.embeddings.refresh import partition_name
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

MAX_DEAD_SHARE = 0.2
"""Deleted or replaced entries beside the live ones; autovacuum's own threshold is the same."""

MAX_DEAD_SHARE_UNREACHED = 0.05
"""The same where chunks are not reached. Some corpora no graph reaches whole, and 1 % of changes
must not have it built anew: 28 s at 110,000 chunks."""

REACHED = 0.99
"""The part of its chunks that a fresh graph reaches."""

MIN_DEAD = 100
"""Fewer leave no trace in the answers of a small index, which is searched nearly whole."""


@dataclass(frozen=True, slots=True)
class Wear:
    """How worn an index is: dead entries, their share, and the part of chunks it still reaches.

    `reached` is that of the last measurement; None before any.
    """

    index: str
    dead: int
    share: float
    reached: float | None

    @property
    def is_worn(self) -> bool:
        """Whether the index should be built anew; one without dead entries would be the same."""
        if self.dead < MIN_DEAD:
            return False
        unreached = self.reached is not None and self.reached < REACHED
        return self.share > (MAX_DEAD_SHARE_UNREACHED if unreached else MAX_DEAD_SHARE)


def measure_wear(
    connection: postgres.Connection, generation: Generation, reached: Mapping[str, float]
) -> list[Wear]:
    """The wear of the graphs of a generation; the tables of the database tell it.

    `reached`: by index, as measured last.

    Of pgvector it is the dead tuples of the partition that no vacuum has removed yet, of Chroma the
    entries that were replaced or removed since the collection was built.
    """
    rows = postgres.run(
        connection,
        statement("postgres/search/indexes/wear"),
        {
            "generation_id": generation.generation_id,
            "space_id": generation.space_id,
            "partition": partition_name(generation.space_id),
        },
    ).fetchall()
    return [
        Wear(index, dead, dead / (dead + live) if dead else 0.0, reached.get(index))
        for index, dead, live in rows
    ]


def rebuild_if_worn(
    connection: postgres.Connection,
    generation: Generation,
    index: PgvectorIndex | ChromaIndex,
    reached: Mapping[str, float],
) -> str | None:
    """Build a worn index anew while it goes on answering; None when it is not worn.

    Returns what was done, in words. The generation is measured again by the next evaluation.
    """
    wear = {one.index: one for one in measure_wear(connection, generation, reached)}.get(index.kind)
    if wear is None or not wear.is_worn:
        return None
    if not index.rebuild(connection):
        return "worn, but a reader held the old index; the next run tries again"
    of_chunks = "" if wear.reached is None else f", {wear.reached:.3f} reached"
    return f"built anew: {wear.dead} dead entries ({wear.share:.0%}){of_chunks}{_why_slow(index)}"


def _why_slow(index: PgvectorIndex | ChromaIndex) -> str:
    """Said where a build took long for want of memory; Chroma has no limit of its own."""
    if isinstance(index, ChromaIndex):
        return ""
    plan = replace(index.build_plan(), due=True)
    return "" if plan.fits else f"; {plan.said}"
