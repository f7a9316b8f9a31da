"""Search quality: metrics of rankings with graded judgments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

K = 10
MAP_K = 100
"""Documents that count for the mean average precision: about as many as an index is asked for."""

NDCG = f"ndcg@{K}"

Metrics = dict[str, float]
"""Means or values of a ranking's metrics, by their names in `METRICS`."""


def dcg(grades: Sequence[float], k: int) -> float:
    """Discounted cumulative gain: the sum over ranks 1..k of grade / log2(rank + 1).

    The gain is linear in the grade, as in trec_eval, BEIR and pytrec_eval (not 2^grade - 1).

    Source: K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002.
    """
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades[:k], start=1))


def ndcg(ranking: Sequence[str], relevant: Mapping[str, int], k: int = K) -> float:
    """DCG of the first `k` divided by that of the best possible ranking; 0 to 1.

    What is not judged has grade 0. 0 when nothing is relevant.
    """
    ideal = dcg(sorted((float(max(grade, 0)) for grade in relevant.values()), reverse=True), k)
    gain = dcg([float(max(relevant.get(document_id, 0), 0)) for document_id in ranking[:k]], k)
    return gain / ideal if ideal else 0.0


def reciprocal_rank(ranking: Sequence[str], relevant: Mapping[str, int], k: int = K) -> float:
    """1 / rank of the first relevant document among the first `k`; 0 without one."""
    for rank, document_id in enumerate(ranking[:k], start=1):
        if relevant.get(document_id, 0) > 0:
            return 1 / rank
    return 0.0


def recall(ranking: Sequence[str], relevant: Mapping[str, int], k: int = K) -> float:
    """The part of the relevant documents that is among the first `k`."""
    total = _relevant(relevant)
    return sum(_hits(ranking, relevant, k)) / total if total else 0.0


def precision(ranking: Sequence[str], relevant: Mapping[str, int], k: int = K) -> float:
    """The part of the first `k` places that holds a relevant document."""
    return sum(_hits(ranking, relevant, k)) / k


def average_precision(ranking: Sequence[str], relevant: Mapping[str, int], k: int = MAP_K) -> float:
    """The precision at the rank of each relevant document, averaged over all relevant ones.

    One that is not among the first `k` counts 0, as trec_eval's `map_cut` does. Its mean over
    queries is the mean average precision.
    """
    hits = _hits(ranking, relevant, k)
    precisions = (
        count / rank for rank, count in enumerate(accumulate(hits), start=1) if hits[rank - 1]
    )
    total = _relevant(relevant)
    return sum(precisions) / total if total else 0.0


METRICS: Mapping[str, Callable[[Sequence[str], Mapping[str, int]], float]] = {
    NDCG: ndcg,
    f"mrr@{K}": reciprocal_rank,
    f"recall@{K}": recall,
    f"precision@{K}": precision,
    f"map@{MAP_K}": average_precision,
}
"""What is measured of a ranking against the grades of its query, by name."""


def evaluate_ranking(ranking: Sequence[str], relevant: Mapping[str, int]) -> Metrics:
    """All metrics of one ranking."""
    return {name: metric(ranking, relevant) for name, metric in METRICS.items()}


def _hits(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> list[bool]:
    return [relevant.get(document_id, 0) > 0 for document_id in ranking[:k]]


def _relevant(relevant: Mapping[str, int]) -> int:
    return sum(grade > 0 for grade in relevant.values())
