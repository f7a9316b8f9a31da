"""Cross-validation: a family answers on every row by a model that has not seen its group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.training.families.base import Family, Task, Trial
from ml_assets.training.model import Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The setting that was best over all folds, and what it answers out of fold.

    `probabilities` has the shape (rows, labels), float32; `steps` are the log losses and scores of
    all settings where those are epochs: means over the folds, by their rows.
    """

    setting: Mapping[str, Any]
    probabilities: NDArray[np.float32]
    steps: tuple[Step, ...]


def cross_validate(family: Family, task: Task, folds: NDArray[np.int64]) -> CrossValidation:
    """Fit `family` once per fold on all others, on one thread; choose by the pooled log loss.

    Settings are compared that every fold has tried: one may stop before another.
    """
    import numpy as np
    import sklearn.neural_network  # noqa: F401 - its libraries must be loaded to be limited
    from threadpoolctl import threadpool_limits

    if family.try_folds is None:
        raise TypeError(f"{family.name} has nothing to fit")
    parts = [folds == fold for fold in np.unique(folds)]
    with threadpool_limits(1):
        trials = family.try_folds(task, parts, family.parameters)
        shares = [float(held.mean()) for held in parts]
        tried_by_all = [*zip(*trials, strict=False)]
        losses = [
            sum(share * trial.log_loss for share, trial in zip(shares, tried, strict=True))
            for tried in tried_by_all
        ]
        best = int(np.argmin(losses))
        probabilities = np.zeros((len(folds), len(task.labels)), dtype=np.float32)
        for held, tried in zip(parts, trials, strict=True):
            probabilities[held] = tried[best].answer()
    steps = [
        Step(tried[0].setting["epochs"], "validation", metric, value)
        for tried, loss in zip(tried_by_all, losses, strict=True)
        if "epochs" in tried[0].setting
        for metric, value in {"log_loss": float(loss), **_means(tried, shares)}.items()
    ]
    return CrossValidation(trials[0][best].setting, probabilities, tuple(steps))


def _means(tried: Sequence[Trial], shares: Sequence[float]) -> dict[str, float]:
    """The scores of one setting, over the folds."""
    return {
        name: sum(s * trial.scores[name] for s, trial in zip(shares, tried, strict=True))
        for name in tried[0].scores
    }
