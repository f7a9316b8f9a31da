"""Choosing a fusion for a corpus by the tuning half of its judged queries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from ml_assets.search.answering.fusion import Numbers, Scores, rank, scale
from ml_assets.search.evaluation.measurement import Tuned
from ml_assets.search.evaluation.metrics import K, ndcg
from ml_assets.search.model import Fusion, FusionMethod

TUNING_VERSION = 3
"""Raise it when the choosing changes, so that generations choose again."""

MIN_QUERIES = 50
"""With fewer judged queries to tune on, the default fusion is kept."""

FOLDS = 5

FeedbackChoice = Literal["auto", "on", "off"]
FusionChoice = FusionMethod | Literal["auto"]

_WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
_FIRST_WEIGHT: dict[FusionMethod, float] = {"tmm": 0.3, "minmax": 0.4, "zscore": 0.3, "rrf": 0.5}
"""The weight of the keyword index to begin with: that of rrf as published, the others by the tuning
halves of SciFact, Cranfield and `python_docs`."""

ScoresBy: TypeAlias = Mapping[str, Scores]
"""The scores for one query: of `keyword`, `vector`, and `feedback` where that was queried.

`unread`, in the place of the last two, where the model does not know the script of the query."""

TuningQuery: TypeAlias = tuple[ScoresBy, Mapping[str, int]]
"""The scores for a query, and the grades of the documents that answer it."""


def candidates(method: FusionChoice = "auto", feedback: FeedbackChoice = "auto") -> list[Fusion]:
    """The fusions that the settings leave, in order of preference; the first is the default."""
    methods: Sequence[FusionMethod] = get_args(FusionMethod) if method == "auto" else (method,)
    return [
        Fusion(name, weight, moved)
        for moved in {"auto": (True, False), "on": (True,), "off": (False,)}[feedback]
        for name in methods
        for weight in sorted(_WEIGHTS, key=lambda weight: abs(weight - _FIRST_WEIGHT[name]))
    ]


def tune(queries: Sequence[TuningQuery], fusions: Sequence[Fusion]) -> Tuned:
    """Choose the fusion of the best nDCG@10 on tuning queries, and the default without a reason.

    The reason: over five folds of the tuning queries, what is chosen on four gains on the fifth
    more than one standard error over the default, the first of `fusions`.
    """
    if len(queries) < MIN_QUERIES:
        return Tuned(fusions[0], len(queries))
    quality = measure_fusions(queries, fusions)
    best = choose(quality)
    gains = _gains_unseen(quality)
    gain, error = float(gains.mean()), _standard_error(gains)
    chosen = best if gain > error else 0
    default, reached = quality[:, 0].mean(), quality[:, chosen].mean()
    return Tuned(fusions[chosen], len(queries), float(default), float(reached), gain, error)


def measure_fusions(queries: Sequence[TuningQuery], fusions: Sequence[Fusion]) -> Numbers:
    """nDCG@10 of every fusion on every query, of shape (queries, fusions)."""
    return np.array([_measure_query(scores, relevant, fusions) for scores, relevant in queries])


def choose(quality: Numbers) -> int:
    """The first candidate that is not worse than the best by more than one standard error.

    The error is that of the difference over queries, so that noise does not move the choice.

    Source: the one-standard-error rule of L. Breiman et al., "Classification and Regression Trees".
    """
    best = int(quality.mean(axis=0).argmax())
    losses = quality[:, [best]] - quality
    return next(
        candidate
        for candidate in range(quality.shape[1])
        if losses[:, candidate].mean() <= _standard_error(losses[:, candidate])
    )


def fused_by(scores: ScoresBy, feedback: bool) -> dict[str, Scores]:
    """The scores to fuse: with feedback, the moved query's take the place of the vector's."""
    near = scores.get("unread") or scores["feedback" if feedback else "vector"]
    return {"keyword": scores["keyword"], "vector": near}


def _measure_query(
    scores: ScoresBy, relevant: Mapping[str, int], fusions: Sequence[Fusion]
) -> list[float]:
    # Scaling does not depend on the weights, and takes most of the time.
    scaled = {
        (method, feedback): scale(fused_by(scores, feedback), method)
        for method, feedback in {(fusion.method, fusion.feedback) for fusion in fusions}
    }
    rankings = (rank(*scaled[f.method, f.feedback], f.weights, K) for f in fusions)
    return [ndcg([item for item, _ in ranking], relevant) for ranking in rankings]


def _gains_unseen(quality: Numbers) -> Numbers:
    """Per query, what the choice made on the other folds gains over the default.

    Folds are runs of neighbouring queries: benchmarks list variants of a question side by side.
    """
    gains = np.zeros(len(quality))
    for fold in np.array_split(np.arange(len(quality)), FOLDS):
        chosen = choose(np.delete(quality, fold, axis=0))
        gains[fold] = quality[fold, chosen] - quality[fold, 0]
    return gains


def _standard_error(values: Numbers) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))
