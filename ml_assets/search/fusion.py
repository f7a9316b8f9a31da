"""Fusion: several rankings of the same things into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

RRF_K = 60
"""The constant of Cormack, Clarke and Büttcher (2009); it damps the first ranks."""


def reciprocal_rank_fusion(
    rankings: Mapping[str, Sequence[str]],
    weights: Mapping[str, float] | None = None,
    k: int = RRF_K,
) -> list[tuple[str, float]]:
    """Fuse rankings by the sum over rankings of weight / (k + rank), ranks counted from 1.

    Args:
        rankings: ids, best first and without repetition, under the name of the ranking.
        weights: weight of each ranking, at least 0; one that is not named weighs 1.
        k: the damping constant.

    Returns:
        (id, score), best first; ties by the best single rank, then by id, so that equal input
        gives equal output.

    Source: G. Cormack, C. Clarke, S. Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
    individual Rank Learning Methods", SIGIR 2009.
    """
    scores: dict[str, float] = {}
    best: dict[str, int] = {}
    for name in sorted(rankings):
        weight = (weights or {}).get(name, 1.0)
        for rank, item in enumerate(rankings[name], start=1):
            scores[item] = scores.get(item, 0.0) + weight / (k + rank)
            best[item] = min(best.get(item, rank), rank)
    return sorted(scores.items(), key=lambda scored: (-scored[1], best[scored[0]], scored[0]))
