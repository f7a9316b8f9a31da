"""Churn wears out a graph: measuring that, and building the index anew past a threshold.

What is deleted leaves holes in the graph of HNSW, over which the walk to a neighbour may not come.
FAISS compares all, or keeps lists that close over what is removed; it trains them anew by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ml_assets.search.indexes import ledger
from ml_assets.search.indexes.contract import AnyIndex, GraphIndex
from ml_assets.search.indexes.kinds import kinds_of, upkeep_of
from ml_assets.search.model import Generation
from ml_assets.stores import postgres

MAX_DEAD_SHARE = 0.2
"""Deleted or replaced entries beside the live ones; autovacuum's own threshold is the same."""

MAX_DEAD_SHARE_UNREACHED = 0.05
"""The same where chunks are not reached. Some corpora no graph reaches whole, and 1 % of changes
must not have it built anew."""

REACHED = 0.99
"""The part of its chunks that a fresh graph reaches."""

MIN_DEAD = 100
"""Fewer leave no trace in the answers of a small index, which is searched nearly whole."""


@dataclass(frozen=True, slots=True)
class Wear:
    """How worn an index is: dead entries, and their share."""

    index: str
    dead: int
    share: float
    reached: float | None
    """The part of chunks that it reached in the last measurement; None before any."""

    @property
    def is_worn(self) -> bool:
        """Whether the index should be built anew; one without dead entries would be the same."""
        if self.dead < MIN_DEAD:
            return False
        unreached = self.reached is not None and self.reached < REACHED
        return self.share > (MAX_DEAD_SHARE_UNREACHED if unreached else MAX_DEAD_SHARE)


def measure_wear(
    connection: postgres.Connection,
    generation: Generation,
    reached: Mapping[str, float],
    only: str | None = None,
) -> list[Wear]:
    """The wear of the graphs of a generation, or of one alone, as PostgreSQL knows it."""
    measured = []
    for name in (kind.name for kind in kinds_of(generation) if kind.is_graph):
        if only in (None, name):
            dead, live = upkeep_of(name).dead(connection, generation, name)
            share = dead / (dead + live) if dead else 0.0
            measured.append(Wear(name, dead, share, reached.get(name)))
    return measured


def rebuild_if_worn(
    connection: postgres.Connection, index: AnyIndex, reached: Mapping[str, float]
) -> str | None:
    """Build a worn index anew while it goes on answering; None when it is not worn.

    Returns a message. The generation is measured again by the next evaluation.
    """
    generation = index.generation
    measured = measure_wear(connection, generation, reached, index.kind)
    if not any(wear.is_worn for wear in measured):
        return None
    with ledger.exclusively(connection, generation, index.kind):
        remark = cast("GraphIndex[Any]", index).rebuild()
        if remark is None:
            return "worn, but a reader held the old index; the next run tries again"
        ledger.forget_wear(connection, generation, index.kind)
    [wear] = measured
    of_chunks = "" if wear.reached is None else f", {wear.reached:.3f} reached"
    return f"built anew: {wear.dead} dead entries ({wear.share:.0%}){of_chunks}{remark}"
