"""Evaluation of a classifier: scores over all labels and per label, confusion, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 15
"""Bins of equal width over the confidence, as in Guo et al. 2017."""


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Precision, recall and F1 of one label; `support` is how often it is the right answer."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about one confidence: how many, how sure they were, how often they were right."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good the answers of a classifier are.

    `metrics` has `accuracy`, `macro_f1`, `log_loss` (nats) and `calibration_error`. `confusion` has
    the shape (labels, labels): the right answer by row, the given one by column.
    """

    labels: tuple[str, ...]
    metrics: dict[str, float]
    per_label: tuple[LabelScore, ...]
    confusion: NDArray[np.int64]
    reliability: tuple[Bin, ...]


def evaluate(
    labels: Sequence[str], truth: NDArray[np.object_], probabilities: NDArray[np.float64]
) -> Evaluation:
    """Evaluate `probabilities`, shape (len(truth), len(labels)), against the right answers.

    Accuracy is the share of right first answers; macro-F1 the unweighted mean of the F1 of the
    labels, 0 for a label never hit; log loss the mean of -ln p(right answer), p at least the
    precision of float64.
    """
    import numpy as np

    positions = {label: index for index, label in enumerate(labels)}
    right = np.array([positions[label] for label in truth], dtype=np.int64)
    given = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (right, given), 1)
    scores = _label_scores(labels, confusion)
    likelihood = probabilities[np.arange(len(right)), right].astype(np.float64)
    bins = reliability(probabilities.max(axis=1), given == right)
    metrics = {
        "accuracy": float((given == right).mean()),
        "macro_f1": float(np.mean([score.f1 for score in scores])),
        "log_loss": float(-np.log(np.maximum(likelihood, np.finfo(np.float64).eps)).mean()),
        "calibration_error": calibration_error(bins),
    }
    return Evaluation(tuple(labels), metrics, scores, confusion, bins)


def beats(score: float, baseline: float) -> bool:
    """Whether a score from 0 to 1 is better than a baseline's, or equals one that is perfect."""
    return score > baseline or score == baseline == 1.0


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Group answers by confidence into `BINS` bins (low, high]; empty bins are left out."""
    import numpy as np

    which = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return tuple(
        Bin(int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for inside in (which == index for index in range(BINS))
        if inside.any()
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Guo et al. 2017): mean |accuracy - confidence| over answers."""
    total = sum(group.count for group in bins)
    return sum(group.count * abs(group.accuracy - group.confidence) for group in bins) / total


def _label_scores(labels: Sequence[str], confusion: NDArray[np.int64]) -> tuple[LabelScore, ...]:
    hits, given, support = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    return tuple(
        LabelScore(
            label=label,
            precision=_ratio(hits[index], given[index]),
            recall=_ratio(hits[index], support[index]),
            f1=_ratio(2 * hits[index], given[index] + support[index]),
            support=int(support[index]),
        )
        for index, label in enumerate(labels)
    )


def _ratio(part: np.int64, whole: np.int64) -> float:
    return float(part / whole) if whole else 0.0
