"""Cross-validation: a family answers on every row by a model that has not seen its group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.training.families.base import Family, Task
from ml_assets.training.model import Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The setting that was best over all folds, and what it answers out of fold.

    `probabilities` has the shape (rows, labels), float32; `steps` are the log losses of all
    settings where those are epochs.
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
        shares = [held.mean() for held in parts]
        losses = [
            sum(share * trial.log_loss for share, trial in zip(shares, tried, strict=True))
            for tried in zip(*trials, strict=False)
        ]
        best = int(np.argmin(losses))
        probabilities = np.zeros((len(folds), len(task.labels)), dtype=np.float32)
        for held, tried in zip(parts, trials, strict=True):
            probabilities[held] = tried[best].answer()
    steps = [
        Step(trial.setting["epochs"], "validation", "log_loss", float(loss))
        for trial, loss in zip(trials[0], losses, strict=False)
        if "epochs" in trial.setting
    ]
    return CrossValidation(trials[0][best].setting, probabilities, tuple(steps))
