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
from ml_assets.search.indexes.kinds import KINDS, kinds_of, upkeep_of
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
    connection: postgres.Connection, generation: Generation, reached: Mapping[str, float]
) -> list[Wear]:
    """The wear of the graphs of a generation, as PostgreSQL knows it."""
    return [
        _measure(connection, generation, kind.name, reached)
        for kind in kinds_of(generation)
        if kind.is_graph
    ]


def rebuild_if_worn(
    connection: postgres.Connection, index: AnyIndex, reached: Mapping[str, float]
) -> str | None:
    """Build a worn index anew while it goes on answering; None when it is not worn.

    Returns a message. The generation is measured again by the next evaluation.
    """
    if not KINDS[index.kind].is_graph:
        return None
    graph, generation = cast("GraphIndex[Any]", index), index.generation
    wear = _measure(connection, generation, index.kind, reached)
    if not wear.is_worn:
        return None
    with ledger.exclusively(connection, generation, index.kind):
        remark = graph.rebuild()
        if remark is None:
            return "worn, but a reader held the old index; the next run tries again"
        ledger.forget_wear(connection, generation, index.kind)
    of_chunks = "" if wear.reached is None else f", {wear.reached:.3f} reached"
    return f"built anew: {wear.dead} dead entries ({wear.share:.0%}){of_chunks}{remark}"


def _measure(
    connection: postgres.Connection,
    generation: Generation,
    kind: str,
    reached: Mapping[str, float],
) -> Wear:
    dead, live = upkeep_of(kind).dead(connection, generation, kind)
    return Wear(kind, dead, dead / (dead + live) if dead else 0.0, reached.get(kind))
