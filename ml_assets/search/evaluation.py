"""Search quality: metrics with graded judgments, and recall against exact search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from ml_assets.documents.sources.base import JudgedQuery

K = 10

Metrics = dict[str, float]


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
    found = dcg([float(max(relevant.get(document_id, 0), 0)) for document_id in ranking], k)
    return found / ideal if ideal else 0.0


def reciprocal_rank(ranking: Sequence[str], relevant: Mapping[str, int], k: int = K) -> float:
    """1 / rank of the first relevant document among the first `k`; 0 without one."""
    for rank, document_id in enumerate(ranking[:k], start=1):
        if relevant.get(document_id, 0) > 0:
            return 1 / rank
    return 0.0


def recall(ranking: Sequence[str], relevant: Mapping[str, int], k: int = K) -> float:
    """The part of the relevant documents that is among the first `k`."""
    total = sum(grade > 0 for grade in relevant.values())
    return _found(ranking, relevant, k) / total if total else 0.0


def precision(ranking: Sequence[str], relevant: Mapping[str, int], k: int = K) -> float:
    """The part of the first `k` places that holds a relevant document."""
    return _found(ranking, relevant, k) / k


def evaluate_ranking(ranking: Sequence[str], relevant: Mapping[str, int], k: int = K) -> Metrics:
    """All metrics of one ranking."""
    return {
        f"ndcg@{k}": ndcg(ranking, relevant, k),
        f"mrr@{k}": reciprocal_rank(ranking, relevant, k),
        f"recall@{k}": recall(ranking, relevant, k),
        f"precision@{k}": precision(ranking, relevant, k),
    }


def evaluate_queries(
    run_query: Callable[[JudgedQuery], Sequence[str]],
    judged: Sequence[JudgedQuery],
    k: int = K,
) -> dict[str, Metrics]:
    """Run every judged query; return the mean of each metric by half, with the `queries` counted.

    A query without any relevant document is left out, as trec_eval does.
    """
    by_half: dict[str, list[Metrics]] = {}
    for query in judged:
        if any(grade > 0 for grade in query.relevant.values()):
            metrics = evaluate_ranking(run_query(query), query.relevant, k)
            by_half.setdefault(query.half, []).append(metrics)
    return {half: _means(rows) for half, rows in sorted(by_half.items())}


def _means(rows: Sequence[Metrics]) -> Metrics:
    means = {name: fmean(row[name] for row in rows) for name in rows[0]}
    return {**means, "queries": len(rows)}


def _found(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> int:
    return sum(relevant.get(document_id, 0) > 0 for document_id in ranking[:k])
