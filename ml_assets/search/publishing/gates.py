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
from ml_assets.search.evaluation.bootstrap import bootstrap_interval
from ml_assets.search.model import Generation
from ml_assets.settings import Settings

MIN_REACHED = 0.95
"""The part of sampled live chunks that an index must find by their own vector. Of 145,000 chunks, a
tenth of them duplicates, a fresh graph reached .9995 when their vectors were written in the order
of a hash, and .981 when they were written in the order of their lengths."""

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

    @property
    def numbers(self) -> str:
        """The figures, as they are told."""
        return ", ".join(f"{name} {value:.4g}" for name, value in self.figures.items())


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
            raise GateError(
                f"{gate.name}: {gate.said} ({gate.numbers})",
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
    bound is below, and is inconclusive between the two, with fewer than `MIN_QUERIES` queries, and
    when the two were measured on other documents: the difference may be that of the documents.

    The published generation is compared with what it was published with, on the documents of then.
    A loss is inconclusive, whatever its size: its documents may be harder, and not publishing it
    again would only keep the older measurement, with the fusion of then.
    """
    name = "hybrid_is_not_worse_than_published"
    if published is None:
        return Gate(name, "passed", "no generation is published", {})
    served = published.generation_id == generation.generation_id
    measured = generation.measured or {}
    reference = (None if served else published.measured) or published.evaluation or {}
    new, before = _hybrid(measured), _hybrid(reference)
    if not new and not before:
        return Gate(name, "passed", "the source has no judged queries to report on", {})
    common = sorted(new.keys() & before.keys())
    if len(common) < MIN_QUERIES and new != before:
        said = f"only {len(common)} judged queries are common to both, and {MIN_QUERIES} are needed"
        return Gate(name, "inconclusive", said, {"queries": len(common), "margin": margin})
    figures = _difference([new[query] - before[query] for query in common], margin, seed)
    if not served and measured.get("documents") != reference.get("documents"):
        said = "the published generation was measured on other documents"
        return Gate(name, "inconclusive", said, figures)
    if new == before:
        return Gate(name, "passed", "it answers every query as the published one", figures)
    if figures["low"] >= -margin:
        return Gate(name, "passed", "it loses at most the margin", figures)
    if figures["high"] < -margin:
        if served:
            said = "what is served answers worse than when it was published last"
            return Gate(name, "inconclusive", said, figures)
        return Gate(name, "blocked", "it is worse than the published generation", figures)
    said = "the queries are too few to tell whether it loses more than the margin"
    needed = {"queries_needed": _queries_needed(figures)}
    return Gate(name, "inconclusive", said, {**figures, **needed})


def _difference(differences: Sequence[float], margin: float, seed: int) -> dict[str, float | int]:
    low, high = bootstrap_interval(differences, seed)
    return {
        "difference": float(np.mean(differences)),
        "low": low,
        "high": high,
        "margin": margin,
        "queries": len(differences),
    }


def _hybrid(evaluation: Mapping[str, Any] | None) -> Mapping[str, float]:
    """nDCG@10 of the hybrid method, by reporting query."""
    by_query: Mapping[str, float] = ((evaluation or {}).get("ndcg") or {}).get("hybrid", {})
    return by_query


def _queries_needed(figures: Mapping[str, float | int]) -> int:
    """How many queries like these would tell: the interval narrows with the root of their number.

    At most a million: when the mean is at the margin itself, no number would do.
    """
    queries = int(figures["queries"])
    half = (figures["high"] - figures["low"]) / 2
    distance = abs(figures["difference"] + figures["margin"])
    if half >= distance * math.sqrt(1e6 / queries):
        return 1_000_000
    return max(queries + 1, math.ceil(queries * (half / distance) ** 2))
