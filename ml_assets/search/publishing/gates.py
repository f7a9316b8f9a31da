"""The gates of a search generation: pure functions from a measurement to an outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml_assets.releases.gates import Gate, Outcome
from ml_assets.search.evaluation.bootstrap import bootstrap_interval
from ml_assets.search.evaluation.measurement import Measurement
from ml_assets.search.indexes.kinds import answering_kind
from ml_assets.settings import Settings

MIN_REACHED = 0.95
"""The part of sampled live chunks that an index must find by their own vector."""

_RUN_ALL = "Run `ml-assets run --all`, which mends or rebuilds an index"
_ANOTHER = "or have another index answer with ML_ASSETS_VECTOR_INDEX"
_RAISE_RECALL = f"Raise ML_ASSETS_HNSW_EF_SEARCH, {_ANOTHER}, or lower ML_ASSETS_MIN_RECALL"
_RAISE_REACH = f"Run `ml-assets repair`, raise ML_ASSETS_HNSW_M, {_ANOTHER}"
_RAISE_MARGIN = "Keep the published one, or raise ML_ASSETS_NDCG_MARGIN"

MIN_QUERIES = 10
"""An interval drawn from fewer queries is too narrow: of one query it is a point."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a generation is compared with: the served one; `itself`: it is the served one.

    It is compared with its own measurement of when it was published.
    """

    published: bool = False
    itself: bool = False
    measurement: Measurement | None = None


def measured_gates(
    measurement: Measurement | None, reference: Reference, settings: Settings
) -> list[Gate]:
    """The gates on the last measurement of a generation, against what is served.

    Before the pointer moves, `same_chunks_gate` is asked, too.
    """
    recall = measurement.recall if measurement else {}
    serves = answering_kind(settings.vector_index, recall)
    return [
        recall_gate(measurement, serves, settings.min_recall, settings.recall_minima),
        reach_gate(measurement, serves),
        ndcg_gate(measurement, reference, settings.ndcg_margin, settings.seed),
    ]


def same_chunks_gate(rows: Sequence[Mapping[str, Any]]) -> Gate:
    """Every index holds exactly the live chunks; `rows` are of `compare_with_tables`."""
    message = ", ".join(
        f"{row['index']} lacks {row['missing']}, has {row['extra']} too many and"
        f" {row['outdated']} outdated"
        for row in rows
        if row["missing"] or row["extra"] or row["outdated"]
    )
    numbers = {
        "expected": max((row["expected"] for row in rows), default=0),
        "compared": min((row["compared"] for row in rows), default=0),
        **{row["index"]: row["indexed"] for row in rows},
    }
    name = "indexes_hold_the_live_chunks"
    if message:
        return Gate(name, "block", message, numbers, _RUN_ALL)
    return Gate(name, "pass", "every index holds the live chunks", numbers)


def recall_gate(
    measurement: Measurement | None, serves: str, minimum: float, by_index: Mapping[str, float]
) -> Gate:
    """recall@10 of every index, on live vectors and on judged queries, is at least its minimum.

    An index that does not answer, as `serves` does, only warns.
    """
    name = "vector_indexes_agree_with_exact_search"
    if measurement is None or not measurement.recall:
        return Gate(name, "block", "no index was measured", {"minimum": minimum}, _RUN_ALL)
    live, judged = measurement.recall, measurement.judged_recall
    numbers: dict[str, float | int] = {
        **live,
        **{f"{index}_judged": value for index, value in judged.items()},
        "minimum": minimum,
        **{f"minimum_{index}": value for index, value in by_index.items()},
        "indexes_measured": len(live),
    }
    if unknown := sorted(set(by_index) - set(live)):
        message = (
            f"ML_ASSETS_MIN_RECALL_BY_INDEX names {', '.join(unknown)}, which was not measured"
        )
        return Gate(name, "block", message, numbers, "Name an index of the generation")
    low = [
        (index, f"{index} on {where}")
        for where, recall in (("live vectors", live), ("judged queries", judged))
        for index, value in recall.items()
        if value < by_index.get(index, minimum)
    ]
    if low:
        indexes, places = zip(*low, strict=True)
        message = f"the recall of {', '.join(places)} is too low"
        return Gate(name, _of(indexes, serves), message, numbers, _RAISE_RECALL)
    return Gate(name, "pass", "every index has its minimum", numbers)


def reach_gate(measurement: Measurement | None, serves: str) -> Gate:
    """Every vector index finds nearly all of the sampled live chunks by their own vector.

    An index that does not answer, as `serves` does, only warns.
    """
    name = "indexes_reach_their_chunks"
    if measurement is None or not measurement.reached:
        return Gate(name, "block", "no index was measured", {"minimum": MIN_REACHED}, _RUN_ALL)
    reached = measurement.reached
    numbers = {**reached, "minimum": MIN_REACHED, "sampled": measurement.sampled}
    low = [index for index, value in reached.items() if value < MIN_REACHED]
    if low:
        message = f"{', '.join(low)} does not find every chunk by its own vector"
        return Gate(name, _of(low, serves), message, numbers, _RAISE_REACH)
    return Gate(name, "pass", "the sampled chunks find themselves", numbers)


def _of(indexes: Sequence[str], serves: str) -> Outcome:
    """What these indexes lack blocks when one of them answers."""
    return "block" if serves in indexes else "warn"


def ndcg_gate(
    measurement: Measurement | None, reference: Reference, margin: float, seed: int
) -> Gate:
    """Hybrid nDCG@10 is not worse than that of the published generation by more than `margin`.

    The difference is paired, over the reporting queries that both were measured on, with its 95 %
    bootstrap interval. It passes when the lower bound is at least -margin, blocks when the upper
    bound is below, and cannot tell between the two, with fewer than `MIN_QUERIES` queries, and when
    the two were measured on other documents: the difference may be that of the documents.

    The published generation is compared with its measurement of when it was published. A loss is
    one that cannot tell, whatever its size: its documents may be harder, and not publishing it
    again would only keep the older measurement, with the fusion of then.
    """
    name = "hybrid_is_not_worse_than_published"
    if not reference.published:
        return Gate(name, "pass", "no generation is published", {})
    new = measurement.hybrid if measurement else {}
    before = reference.measurement.hybrid if reference.measurement else {}
    if not new and not before:
        return Gate(name, "pass", "the source has no judged queries to report on", {})
    common = sorted(new.keys() & before.keys())
    if len(common) < MIN_QUERIES and new != before:
        few = f"only {len(common)} judged queries are common to both, and {MIN_QUERIES} are needed"
        return Gate(name, "cannot tell", few, {"queries": len(common), "margin": margin})
    differences = [new[query] - before[query] for query in common]
    low, high = bootstrap_interval(differences, seed)
    numbers: dict[str, float | int] = {
        "difference": float(np.mean(differences)),
        "low": low,
        "high": high,
        "margin": margin,
        "queries": len(common),
    }
    documents = {each.documents for each in (measurement, reference.measurement) if each}
    if not reference.itself and len(documents) > 1:
        message = "the published generation was measured on other documents"
        return Gate(name, "cannot tell", message, numbers)
    if new == before:
        return Gate(name, "pass", "it answers every query as the published one", numbers)
    if low >= -margin:
        return Gate(name, "pass", "it loses at most the margin", numbers)
    if high < -margin:
        if reference.itself:
            message = "what is served answers worse than when it was published last"
            return Gate(name, "cannot tell", message, numbers)
        message = "it is worse than the published generation"
        return Gate(name, "block", message, numbers, _RAISE_MARGIN)
    message = "the queries are too few to tell whether it loses more than the margin"
    needed = {"queries_needed": _queries_needed(numbers)}
    return Gate(name, "cannot tell", message, {**numbers, **needed})


def _queries_needed(numbers: Mapping[str, float | int]) -> int:
    """How many queries like these would tell: the interval narrows with the root of their number.

    At most a million: when the mean is at the margin itself, no number would do.
    """
    queries = int(numbers["queries"])
    half = (numbers["high"] - numbers["low"]) / 2
    distance = abs(numbers["difference"] + numbers["margin"])
    if half >= distance * math.sqrt(1e6 / queries):
        return 1_000_000
    return max(queries + 1, math.ceil(queries * (half / distance) ** 2))
