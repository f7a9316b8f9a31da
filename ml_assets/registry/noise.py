"""What chance makes of a score: of a difference, of answers that know nothing, of a calibration.

All three are seeded: the same answers have the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

from ml_assets.training.evaluation import BINS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
CHANCE = 0.001
"""Answers count as knowing something where so small a share of those dealt out does as well."""

_CELLS = 1_000_000
"""Documents times resamples that are counted at a time; they take some 30 MB."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two scores on the same documents, and the 95 % interval of the first less the second.

    `error` is the standard error of the difference.
    """

    first: float
    second: float
    low: float
    high: float
    error: float

    @property
    def value(self) -> float:
        """The difference itself."""
        return self.first - self.second

    def documents_to_tell(self, documents: int) -> int | None:
        """About how many documents would tell such a difference from none; None: it is none.

        An interval narrows with the root of their number.
        """
        if self.value <= 0:
            return None
        return ceil(documents * ((self.high - self.low) / 2 / self.value) ** 2)


def macro_f1(truth: NDArray[np.intp], given: NDArray[np.intp]) -> float:
    """The mean F1 of the labels that occur in `truth`; both (n,) are numbers of labels.

    An answer with another label is wrong, and is no label of its own.
    """
    import numpy as np

    return float(_scores(truth, given, np.ones((1, len(truth))))[0])


def f1_difference(
    truth: NDArray[np.intp],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    groups: NDArray[np.intp],
    seed: int,
) -> Difference:
    """Compare the macro-F1 of two models that answered the same documents, all arrays (n,).

    Groups of documents are drawn again with replacement, 2,000 times, with the answers of both
    models; the interval is that of the percentiles. What is hard for both so cancels.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; paired over
    what was answered: Berg-Kirkpatrick et al., "An Empirical Investigation of Statistical
    Significance in NLP", EMNLP 2012.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    _, group = np.unique(groups, return_inverse=True)
    size = int(group.max()) + 1
    block = max(1, _CELLS // len(truth))
    differences = []
    for start in range(0, RESAMPLES, block):
        draws = [
            np.bincount(generator.integers(size, size=size), minlength=size)
            for _ in range(min(block, RESAMPLES - start))
        ]
        weights = np.stack(draws)[:, group]
        differences.append(_scores(truth, first, weights) - _scores(truth, second, weights))
    rest, drawn = (1 - CONFIDENCE) / 2, np.concatenate(differences)
    low, high = map(float, np.quantile(drawn, [rest, 1 - rest]))
    scores = macro_f1(truth, first), macro_f1(truth, second)
    return Difference(*scores, low, high, float(drawn.std()))


def surer_of_what_is_right(
    first: NDArray[np.float64], second: NDArray[np.float64], groups: NDArray[np.intp]
) -> Difference:
    """Compare the squared errors of two models on the same documents, all arrays (n,).

    Of an answer that is the square of its confidence less 1 if it is right, less 0 if it is wrong
    (Brier 1950, of the answer that is given). The scores are 1 less the mean error, so that more is
    better; the interval is normal, and groups of documents count as one. Doubt says more than the
    answer alone: of airline tweets, a model that is better by .05 of macro-F1 on 1,000 documents is
    3.0 standard errors of macro-F1 away from its equal, and 3.7 of these.
    """
    import numpy as np

    gain, count = second - first, len(first)
    _, group = np.unique(groups, return_inverse=True)
    error = float(np.sqrt((np.bincount(group, gain - gain.mean()) ** 2).sum())) / count
    value, half = float(gain.mean()), NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    scores = 1 - float(first.mean()), 1 - float(second.mean())
    return Difference(*scores, value - half, value + half, error)


def chance_score(truth: NDArray[np.intp], given: NDArray[np.intp], seed: int) -> float:
    """The macro-F1 that the same answers, dealt out at random, reach in a share of `CHANCE` only.

    A permutation test (Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 2005):
    it asks for no more than that answers go with documents.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    labels, right = np.unique(truth, return_inverse=True)
    total = np.bincount(right) + (labels[:, None] == given).sum(axis=1)
    # How often a label is right and how often it is given stay as they are; only hits change.
    dealt = [
        (2 * np.bincount(right[truth == order], minlength=len(labels)) / total).mean()
        for order in (generator.permutation(given) for _ in range(RESAMPLES))
    ]
    return float(np.quantile(dealt, 1 - CHANCE, method="higher"))


def calibration_noise(confidence: NDArray[np.float64], seed: int) -> float:
    """The calibration error that perfectly calibrated answers so sure, (n,), exceed in 5 % only.

    Few answers never have an error of 0: each bin's share of right ones is off by chance.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    errors = [
        np.abs(
            np.bincount(bins, (generator.random(len(bins)) < confidence) - confidence, BINS)
        ).sum()
        / len(bins)
        for _ in range(RESAMPLES // 4)
    ]
    return float(np.quantile(errors, CONFIDENCE))


def is_loss(won: int, lost: int, tests: int) -> bool:
    """Whether more of the paired answers were lost than chance explains in any of `tests` tests.

    McNemar's test (1947) of the answers on which two models differ, normal approximation, with
    Bonferroni's correction: of 64 slices, the worst looks bad by chance.
    """
    if lost <= won:
        return False
    bar = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / tests)
    return (lost - won) / sqrt(lost + won) > bar


def _scores(
    truth: NDArray[np.intp], given: NDArray[np.intp], weights: NDArray[np.generic]
) -> NDArray[np.float64]:
    """Macro-F1 of the answers `given`, (n,), under each row of `weights`, (r, n): (r,)."""
    import numpy as np
    from scipy.sparse import csr_array

    labels, right = np.unique(truth, return_inverse=True)
    places = np.searchsorted(labels, given).clip(0, len(labels) - 1)
    known = labels[places] == given
    counted = weights.T.astype(np.float64)

    def sums(which: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Of each label, the weight of `which` answers with it: (labels, r)."""
        shape = (len(labels), len(truth))
        (documents,) = np.nonzero(which)
        which_label = csr_array((np.ones(len(documents)), (places[which], documents)), shape)
        summed: NDArray[np.float64] = which_label @ counted
        return summed

    hits, named = sums(known & (places == right)), sums(known)
    every = csr_array((np.ones(len(truth)), (right, np.arange(len(truth))))) @ counted
    total = every + named
    f1: NDArray[np.float64] = np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0)
    mean: NDArray[np.float64] = f1.mean(axis=0)
    return mean
