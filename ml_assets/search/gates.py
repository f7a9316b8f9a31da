"""The gates before publishing: pure functions from what was measured to a decision with numbers.

A gate passes, blocks, or cannot tell. Noise must neither block nor pass unseen: what cannot be told
does not block, and is reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ml_assets.errors import GateError
from ml_assets.search.model import Generation
from ml_assets.search.significance import bootstrap_interval
from ml_assets.settings import Settings

MIN_REACHED = 0.95
"""The part of sampled live chunks that an index must find by their own vector. Of 145,000 chunks, a
tenth of them duplicates, a fresh graph built with a beam of 64 reached .984."""

MIN_QUERIES = 10
"""An interval drawn from fewer queries is too narrow: of one query it is a point."""

Outcome = Literal["passed", "inconclusive", "blocked"]


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate decided, in words and in the numbers that were compared."""

    name: str
    outcome: Outcome
    said: str
    figures: Mapping[str, float | int]


def measured_gates(
    generation: Generation, published: Generation | None, settings: Settings
) -> list[Gate]:
    """What the gates say of the last measurement of a generation.

    Before the pointer moves, `same_chunks_gate` is asked, too.
    """
    measured = generation.measured or {}
    return [
        recall_gate(measured, settings.min_recall, settings.recall_minima),
        reach_gate(measured),
        ndcg_gate(generation, published, settings.ndcg_margin, settings.seed),
    ]


def refuse_blocked(generation_id: str, gates: Sequence[Gate]) -> None:
    """Stop at the first gate that blocks.

    Raises:
        GateError: a gate blocks; the line names it and its numbers.
    """
    for gate in gates:
        if gate.outcome == "blocked":
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in gate.figures.items())
            raise GateError(
                f"{gate.name}: {gate.said} ({numbers})",
                where=f"generation {generation_id} is not published",
            )


def same_chunks_gate(rows: Sequence[Mapping[str, Any]]) -> Gate:
    """Every index holds exactly the live chunks; `rows` are of `quality.compare_with_tables`."""
    wrong = [row for row in rows if row["missing"] or row["extra"] or row["outdated"]]
    said = ", ".join(
        f"{row['index']} lacks {row['missing']}, has {row['extra']} too many and"
        f" {row['outdated']} outdated"
        for row in wrong
    )
    figures = {
        "expected": max((row["expected"] for row in rows), default=0),
        "compared": min((row["compared"] for row in rows), default=0),
        **{f"{row['index']}_held": row["held"] for row in rows},
    }
    name = "indexes_hold_the_live_chunks"
    if wrong:
        return Gate(name, "blocked", said, figures)
    return Gate(name, "passed", "every index holds the live chunks", figures)


def recall_gate(measured: Mapping[str, Any], minimum: float, by_index: Mapping[str, float]) -> Gate:
    """recall@10 of every index, on live vectors and on judged queries, is at least its minimum."""
    live, judged = measured.get("recall", {}), measured.get("judged_recall", {})
    figures: dict[str, float | int] = {
        **live,
        **{f"{name}_judged": value for name, value in judged.items()},
        "minimum": minimum,
        **{f"minimum_{name}": value for name, value in by_index.items()},
        "indexes_measured": len(live),
    }
    name = "vector_indexes_agree_with_exact_search"
    if not live:
        return Gate(name, "blocked", "no index was measured", figures)
    if unknown := sorted(set(by_index) - set(live)):
        said = f"ML_ASSETS_MIN_RECALL_BY_INDEX names {', '.join(unknown)}, which was not measured"
        return Gate(name, "blocked", said, figures)
    low = [
        f"{index} on {where}"
        for where, recall in (("live vectors", live), ("judged queries", judged))
        for index, value in recall.items()
        if value < by_index.get(index, minimum)
    ]
    if low:
        return Gate(name, "blocked", f"the recall of {', '.join(low)} is too low", figures)
    return Gate(name, "passed", "every index has its minimum", figures)


def reach_gate(measured: Mapping[str, Any]) -> Gate:
    """Every vector index finds nearly all of the sampled live chunks by their own vector."""
    reached = measured.get("reached", {})
    figures = {**reached, "minimum": MIN_REACHED, "sampled": int(measured.get("sampled", 0))}
    name = "indexes_reach_their_chunks"
    if not reached:
        return Gate(name, "blocked", "no index was measured", figures)
    low = [index for index, value in reached.items() if value < MIN_REACHED]
    if low:
        said = f"{', '.join(low)} does not find every chunk by its own vector"
        return Gate(name, "blocked", said, figures)
    return Gate(name, "passed", "the sampled chunks find themselves", figures)


def ndcg_gate(
    generation: Generation, published: Generation | None, margin: float, seed: int
) -> Gate:
    """Hybrid nDCG@10 is not worse than that of the published generation by more than `margin`.

    The difference is paired, over the reporting queries that both were measured on, with its 95 %
    bootstrap interval. It passes when the lower bound is at least -margin, blocks when the upper
    bound is below, and is inconclusive between the two, or with fewer than `MIN_QUERIES` queries.

    Of the published generation itself a loss is inconclusive, whatever its size: it is served
    already, and not publishing it again would change nothing.
    """
    name = "hybrid_is_not_worse_than_published"
    new = _hybrid(generation.measured)
    if published is None:
        return Gate(name, "passed", "no generation is published", {})
    before = _hybrid(
        published.evaluation
        if published.generation_id == generation.generation_id
        else published.measured or published.evaluation
    )
    if not new:
        return Gate(name, "passed", "the source has no judged queries to report on", {})
    if new == before:
        return Gate(name, "passed", "it answers every query as the published one", {})
    common = sorted(new.keys() & before.keys())
    if len(common) < MIN_QUERIES:
        said = f"only {len(common)} judged queries are common to both, and {MIN_QUERIES} are needed"
        return Gate(name, "inconclusive", said, {"queries": len(common), "margin": margin})
    differences = np.array([new[query] - before[query] for query in common])
    low, high = bootstrap_interval(differences.tolist(), seed)
    mean = float(differences.mean())
    figures = {
        "difference": mean,
        "low": low,
        "high": high,
        "margin": margin,
        "queries": len(common),
    }
    if low >= -margin:
        return Gate(name, "passed", "it loses at most the margin", figures)
    if high < -margin:
        if published.generation_id == generation.generation_id:
            said = "what is served answers worse than when it was published last"
            return Gate(name, "inconclusive", said, figures)
        return Gate(name, "blocked", "it is worse than the published generation", figures)
    needed = _queries_needed(mean, low, high, margin, len(common))
    said = "the queries are too few to tell whether it loses more than the margin"
    return Gate(name, "inconclusive", said, {**figures, "queries_needed": needed})


def _hybrid(evaluation: Mapping[str, Any] | None) -> Mapping[str, float]:
    """nDCG@10 of the hybrid method, by reporting query."""
    by_query: Mapping[str, float] = ((evaluation or {}).get("ndcg") or {}).get("hybrid", {})
    return by_query


def _queries_needed(mean: float, low: float, high: float, margin: float, queries: int) -> int:
    """How many queries like these would tell: the interval narrows with the root of their number.

    At most a million: when the mean is at the margin itself, no number would do.
    """
    half, distance = (high - low) / 2, abs(mean + margin)
    if half >= distance * math.sqrt(1e6 / queries):
        return 1_000_000
    return max(queries + 1, math.ceil(queries * (half / distance) ** 2))
