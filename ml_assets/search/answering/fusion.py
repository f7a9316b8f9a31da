"""Fusion: the scores of several indexes for one query become one ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    return rank(items, scaled, {name: weights.get(name, 0.0) for name in by_index})


def scale(by_index: Mapping[str, Scores], method: FusionMethod) -> tuple[list[str], Numbers]:
    """All ids, sorted, and their scaled scores, of shape (ids, indexes); indexes sorted by name.

    An id that an index lacks counts with its `floor`, and in rrf not at all.
    """
    items = sorted({item for index in by_index.values() for item in index.scores})
    scaled = np.zeros((len(items), len(by_index)))
    if items:
        for column, name in enumerate(sorted(by_index)):
            scaled[:, column] = _scaled(items, by_index[name], method)
    return items, scaled


def rank(
    items: Sequence[str], scaled: Numbers, weights: Mapping[str, float], most: int | None = None
) -> list[tuple[str, float]]:
    """The ids of `scale` with the weighted sum of their scores, best first; ties stay in order.

    The weights are by the indexes' names. Of the ids `most` are given, or all.
    """
    scores = scaled @ np.array([weights[name] for name in sorted(weights)])
    order = np.argsort(-scores, kind="stable")[:most]
    ranked = zip(order.tolist(), scores[order].tolist(), strict=True)
    return [(items[place], score) for place, score in ranked]


def _scaled(items: Sequence[str], index: Scores, method: FusionMethod) -> Numbers:
    if method == "rrf":
        ranks = {item: rank for rank, item in enumerate(index.scores, start=1)}
        return np.array([1 / (RRF_K + ranks[item]) if item in ranks else 0.0 for item in items])
    scores = np.array([index.scores.get(item, index.floor) for item in items])
    if method == "tmm":
        scores = np.maximum(scores, 0.0)
        least, reach = 0.0, scores.max()
    elif method == "minmax":
        least, reach = scores.min(), np.ptp(scores)
    else:
        least, reach = scores.mean(), scores.std()
    # All equal, but for rounding: the index tells nothing, and adds nothing.
    return (scores - least) / reach if reach > 1e-9 else np.zeros_like(scores)
