"""Fusion: the scores of several indexes for one query become one ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml_assets.search.model import FusionMethod

RRF_K = 60
"""The constant of Cormack, Clarke and Büttcher; it damps the first ranks."""

Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one index by id, best first; an id that is not there scores `floor` at most."""

    scores: Mapping[str, float]
    floor: float = 0.0


def fuse(
    by_index: Mapping[str, Scores], weights: Mapping[str, float], method: FusionMethod
) -> list[tuple[str, float]]:
    """Fuse by the weighted sum of each index's scaled scores: (id, score), best first.

    Ties fall to the id, so that equal input gives equal output. An index without a weight has 0.

    The scales, and what is known of them:
        tmm: score / best score, nothing below 0: "theoretical min-max", the least that BM25 and the
            cosine of an answer can be being 0.
        minmax: (score - least) / (best - least) of the scores.
        zscore: (score - mean) / standard deviation of the scores.
        rrf: 1 / (60 + rank), ranks counted from 1: reciprocal rank fusion.

    Source: S. Bruch, S. Gai, A. Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval",
    TOIS 2023; G. Cormack, C. Clarke, S. Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and
    individual Rank Learning Methods", SIGIR 2009.
    """
    items, scaled = scale(by_index, method)
    return ranked(items, weigh(scaled, {name: weights.get(name, 0.0) for name in by_index}))


def scale(by_index: Mapping[str, Scores], method: FusionMethod) -> tuple[list[str], Numbers]:
    """All ids, sorted, and their scaled scores, of shape (ids, indexes); indexes sorted by name.

    An id that an index lacks counts with its `floor`, and in rrf not at all.
    """
    items = sorted({item for scored in by_index.values() for item in scored.scores})
    scaled = np.zeros((len(items), len(by_index)))
    if items:
        for column, name in enumerate(sorted(by_index)):
            scaled[:, column] = _SCALES[method](items, by_index[name])
    return items, scaled


def weigh(scaled: Numbers, weights: Mapping[str, float]) -> Numbers:
    """The weighted sum of scaled scores, of shape (ids,); the weights by the indexes' names."""
    total: Numbers = scaled @ np.array([weights[name] for name in sorted(weights)])
    return total


def ranked(items: list[str], scores: Numbers) -> list[tuple[str, float]]:
    """Sorted ids with their scores, of shape (ids,), best first; ties stay in the order of ids."""
    order = np.argsort(-scores, kind="stable")
    return [(items[place], float(scores[place])) for place in order]


def _scores(items: list[str], scored: Scores) -> Numbers:
    return np.array([scored.scores.get(item, scored.floor) for item in items])


def _tmm(items: list[str], scored: Scores) -> Numbers:
    scores = np.maximum(_scores(items, scored), 0.0)
    return _divided(scores, scores.max())


def _minmax(items: list[str], scored: Scores) -> Numbers:
    scores = _scores(items, scored)
    return _divided(scores - scores.min(), np.ptp(scores))


def _zscore(items: list[str], scored: Scores) -> Numbers:
    scores = _scores(items, scored)
    return _divided(scores - scores.mean(), scores.std())


def _rrf(items: list[str], scored: Scores) -> Numbers:
    rank_of = {item: rank for rank, item in enumerate(scored.scores, start=1)}
    return np.array([1 / (RRF_K + rank_of[item]) if item in rank_of else 0.0 for item in items])


def _divided(scores: Numbers, by: float) -> Numbers:
    # All equal, but for rounding: the index tells nothing, and adds nothing.
    return scores / by if by > 1e-9 else np.zeros_like(scores)


_SCALES: Mapping[FusionMethod, Callable[[list[str], Scores], Numbers]] = {
    "tmm": _tmm,
    "minmax": _minmax,
    "zscore": _zscore,
    "rrf": _rrf,
}
