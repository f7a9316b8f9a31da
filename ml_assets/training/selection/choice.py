"""The choice among candidates: within noise of the best macro-F1, the least log loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_assets.training.evaluation import label_f1, positions
from ml_assets.training.families.registry import BASELINES
from ml_assets.training.model import Candidate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 200
"""Enough for a standard error: it is known to 5 % of itself."""


def resampled_macro_f1(
    labels: Sequence[str],
    truth: NDArray[np.object_],
    probabilities: NDArray[np.floating],
    seed: int,
) -> tuple[float, ...]:
    """Macro-F1 on `RESAMPLES` draws of as many rows, with replacement (Efron 1979).

    The draws follow from the seed and the number of rows: those of two candidates of one training
    set are of the same documents, and so their differences are paired.
    """
    import numpy as np

    right, given = positions(labels, truth), probabilities.argmax(axis=1)
    generator, rows = np.random.default_rng(seed), len(truth)
    draws = (generator.integers(0, rows, rows) for _ in range(RESAMPLES))
    scores = (label_f1(right[drawn], given[drawn], len(labels)) for drawn in draws)
    return tuple(float(np.nan_to_num(score).mean()) for score in scores)


def choose(candidates: Sequence[Candidate]) -> Candidate | None:
    """The candidate to serve, of those that are no baselines; None: there is none.

    Among those whose macro-F1 out of fold is within one standard error of the paired difference to
    the best (the rule of Breiman et al. 1984), the one with the least log loss; of equal losses, to
    three digits, the one that was fitted sooner. Test plays no part.
    """
    eligible = [each for each in candidates if each.family not in BASELINES]
    if not eligible:
        return None
    best = max(eligible, key=_macro_f1)
    near = [each for each in eligible if _macro_f1(best) - _macro_f1(each) <= noise(best, each)]
    return min(
        near,
        key=lambda each: (round(each.metrics["validation_log_loss"], 3), each.metrics["seconds"]),
    )


def is_to_refit(candidates: Sequence[Candidate]) -> bool:
    """Whether the candidate to serve is still to be fitted on all rows."""
    chosen = choose(candidates)
    return chosen is not None and not chosen.refitted_uri


def noise(one: Candidate, other: Candidate) -> float:
    """The standard error of the difference of their macro-F1, on the same draws; 0 without."""
    import numpy as np

    if not (one.resampled and other.resampled):
        return 0.0
    return float(np.std(np.subtract(one.resampled, other.resampled)))


def _macro_f1(candidate: Candidate) -> float:
    return candidate.metrics["validation_macro_f1"]
