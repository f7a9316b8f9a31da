"""The shares of the members of an average, by how well it answers out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_assets.training.evaluation import positions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST = 0.05
"""A member with less is not worth its fit and its answers; two members stay in any case."""

_ROUNDS, _CHANGE = 1_000, 1e-5


def fit_shares(
    labels: Sequence[str], truth: NDArray[np.object_], answers: Sequence[NDArray[np.floating]]
) -> list[float]:
    """The shares, which sum to one, of the least log loss of the mean of `answers`.

    Each is of the shape (rows, labels). The loss is convex in the shares; they are found by
    expectation maximisation, as those of a mixture (Dempster, Laird and Rubin 1977). Source:
    stacking of predictive distributions, Yao et al. (2018), Bayesian Analysis 13(3). Members below
    `LEAST` have a share of 0.
    """
    import numpy as np

    rows, right = np.arange(len(truth)), positions(labels, truth)
    given = np.stack([answer[rows, right].astype(np.float64) for answer in answers])
    given = np.maximum(given, np.finfo(np.float32).tiny)
    kept = np.arange(len(answers))
    while (shares := _mixed(given[kept])).min() < LEAST and len(kept) > 2:
        kept = np.delete(kept, shares.argmin())
    every = np.zeros(len(answers))
    every[kept] = shares
    return [float(share) for share in every]


def _mixed(given: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shares of a mixture of the largest likelihood: `given` (members, rows) is each one's."""
    import numpy as np

    shares = np.full(len(given), 1 / len(given))
    for _ in range(_ROUNDS):
        parts = shares[:, None] * given
        before, shares = shares, (parts / parts.sum(axis=0)).mean(axis=1)
        if np.abs(shares - before).max() < _CHANGE:
            break
    return shares
