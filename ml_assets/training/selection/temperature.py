"""The temperature that makes a model as sure as it is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_assets.training.evaluation import log_loss
from ml_assets.training.families.base import cool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BOUNDS = (0.1, 10.0)


def fit_temperature(
    labels: Sequence[str], truth: NDArray[np.object_], probabilities: NDArray[np.float32]
) -> float:
    """The temperature of the least log loss, Guo et al. (2017); above 1 the model was too sure."""
    import numpy as np
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return log_loss(labels, truth, cool(probabilities, float(np.exp(log_temperature))))

    solved = minimize_scalar(loss, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(solved.x))
