"""Evaluation of a classifier: scikit-learn's scores over all labels and per label; calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
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

    `metrics` has `accuracy`, `macro_f1`, `log_loss` (nats), `calibration_error` and
    `debiased_calibration_error`. `confusion` has the shape (labels, labels): the right answer by
    row, the given one by column.
    """

    labels: tuple[str, ...]
    metrics: dict[str, float]
    per_label: tuple[LabelScore, ...]
    confusion: NDArray[np.int64]
    reliability: tuple[Bin, ...]


def evaluate(
    labels: Sequence[str], truth: NDArray[np.object_], probabilities: NDArray[np.floating]
) -> Evaluation:
    """Evaluate `probabilities`, shape (len(truth), len(labels)), against the right answers.

    Every label counts the same in macro-F1; one that is never right nor given has an F1 of 0.
    """
    import numpy as np
    from sklearn import metrics

    numbers = np.arange(len(labels))
    right = positions(labels, truth)
    given = probabilities.argmax(axis=1)
    scores = metrics.precision_recall_fscore_support(right, given, labels=numbers, zero_division=0)
    bins = reliability(probabilities.max(axis=1), given == right)
    return Evaluation(
        labels=tuple(labels),
        metrics={
            "accuracy": float(metrics.accuracy_score(right, given)),
            "macro_f1": float(scores[2].mean()),
            "log_loss": log_loss(labels, truth, probabilities),
            "calibration_error": calibration_error(bins),
            "debiased_calibration_error": debiased_calibration_error(bins),
        },
        per_label=tuple(
            LabelScore(label, float(precision), float(recall), float(f1), int(support))
            for label, precision, recall, f1, support in zip(labels, *scores, strict=True)
        ),
        confusion=metrics.confusion_matrix(right, given, labels=numbers),
        reliability=bins,
    )


def positions(labels: Sequence[str], truth: NDArray[np.object_]) -> NDArray[np.intp]:
    """The place of each right answer among the labels."""
    import numpy as np

    places = {label: number for number, label in enumerate(labels)}
    return np.array([places[label] for label in truth], dtype=np.intp)


def label_f1(right: NDArray[np.intp], given: NDArray[np.intp], labels: int) -> NDArray[np.float64]:
    """F1 of each label by its place; NaN of one that is never right nor given."""
    import numpy as np

    asked, answered, hits = (
        np.bincount(each, minlength=labels) for each in (right, given, right[right == given])
    )
    both = asked + answered
    return np.where(both > 0, 2 * hits / np.maximum(both, 1), np.nan)


def macro_scores(
    labels: Sequence[str], truth: NDArray[np.object_], probabilities: NDArray[np.floating]
) -> dict[str, float]:
    """Accuracy, and the means of precision, recall and F1 over the labels asked for or given.

    As scikit-learn's with `average="macro"`, at a fraction of its time: it is asked each epoch.
    """
    import numpy as np

    right, given = positions(labels, truth), probabilities.argmax(axis=1)
    asked, answered, hits = (
        np.bincount(each, minlength=len(labels)) for each in (right, given, right[right == given])
    )
    present = asked + answered > 0
    shares = {
        "precision": hits / np.maximum(answered, 1),
        "recall": hits / np.maximum(asked, 1),
        "f1": 2 * hits / np.maximum(asked + answered, 1),
    }
    means = {name: float(values[present].mean()) for name, values in shares.items()}
    return {"accuracy": float((right == given).mean()), **means}


def log_losses(
    labels: Sequence[str], truth: NDArray[np.object_], probabilities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """-ln of the probability of each right answer, which counts as float64's epsilon at least."""
    import numpy as np

    given = probabilities[np.arange(len(truth)), positions(labels, truth)]
    return -np.log(np.maximum(given.astype(np.float64), np.finfo(np.float64).eps))


def log_loss(
    labels: Sequence[str], truth: NDArray[np.object_], probabilities: NDArray[np.floating]
) -> float:
    """The mean of `log_losses`, in nats."""
    return float(log_losses(labels, truth, probabilities).mean())


def beats(score: float, baseline: float) -> bool:
    """Whether a score from 0 to 1 is better than a baseline's, or equals one that is perfect."""
    return score > baseline or score == baseline == 1.0


def difference_interval(score: float, other: float, count: int) -> tuple[float, float]:
    """95 % interval of `score` - `other`, each over `count` answers (Agresti and Caffo 2000).

    Scores are taken as shares of right answers, of samples that have nothing in common. Models that
    answer the same documents differ by chance less than that: the interval is a wide one.
    """
    first, second = ((share * count + 1) / (count + 2) for share in (score, other))
    margin = 1.96 * sqrt((first * (1 - first) + second * (1 - second)) / (count + 2))
    return first - second - margin, first - second + margin


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Group answers by confidence into `BINS` bins (low, high]; empty bins are left out.

    scikit-learn's `calibration_curve` does not give the counts, which the error needs.
    """
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


def debiased_calibration_error(bins: Sequence[Bin]) -> float:
    """The root mean square of accuracy - confidence over answers, freed of what chance adds.

    Few answers in a bin make `calibration_error` larger than it is of many: perfectly calibrated
    ones never have an error of 0. Here the variance that chance gives to each bin's accuracy is
    taken off, so that the square is of the right size in the mean: Kumar, Liang and Ma (2019),
    "Verified Uncertainty Calibration", section 5, after Broecker (2012) and Ferro and Fricker
    (2012). A root mean square is no smaller than the mean of the same differences. A bin of one
    answer tells nothing of its variance, and is left out; 0 where chance explains all.
    """
    told = [each for each in bins if each.count > 1]
    squares = sum(
        each.count
        * (
            (each.accuracy - each.confidence) ** 2
            - each.accuracy * (1 - each.accuracy) / (each.count - 1)
        )
        for each in told
    )
    return sqrt(max(0.0, squares / max(1, sum(each.count for each in told))))
