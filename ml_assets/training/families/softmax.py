"""Multinomial logistic regression by L-BFGS in float32, with dense and sparse inputs apart.

scikit-learn's solver takes the vector beside words as part of one sparse matrix in float64, which a
fit per fold and setting cannot afford.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ml_assets.training.families.lbfgs import minimise
from ml_assets.training.model import Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCES = (1e-4, 1e-7)
"""Of the largest derivative of the mean loss, as scikit-learn's, and of the loss."""


def fit_softmax(
    blocks: Sequence[Any],
    truth: NDArray[np.intp],
    classes: int,
    strength: float,
    start: NDArray[np.float32] | None = None,
    max_iter: int = 100,
    report: Report | None = None,
) -> NDArray[np.float32]:
    """Return coefficients of shape (columns + 1, classes), the last line the intercepts.

    They minimise the mean cross-entropy over rows plus the squared coefficients, the intercepts
    left out, over 2 · `strength` · rows: scikit-learn's objective with C = `strength`. `start` may
    be the minimum of another strength. `report` is told of each iteration: the objective as `loss`,
    the Euclidean `gradient_norm`, and `step_seconds`.
    """
    import numpy as np

    rows = np.arange(len(truth))
    ends = np.cumsum([0, *(block.shape[1] for block in blocks)])
    places = [slice(*ends_) for ends_ in pairwise(ends)]
    turned = [block.T.tocsr() if hasattr(block, "tocsr") else block.T for block in blocks]
    shape, penalty = (int(ends[-1]) + 1, classes), 1 / (strength * len(truth))
    share = np.float32(1 / len(truth))

    def objective(flat: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
        coefficients, weights = flat.reshape(shape), flat[:-classes]
        scores = score(blocks, coefficients)
        scores -= scores.max(axis=1, keepdims=True)
        right = scores[rows, truth]
        np.exp(scores, out=scores)
        norms = scores.sum(axis=1)
        loss = float((np.log(norms) - right).mean(dtype=np.float64))
        scores *= (share / norms)[:, None]
        scores[rows, truth] -= share
        gradient = np.empty(shape, dtype=np.float32)
        for place, block in zip(places, turned, strict=True):
            gradient[place] = block @ scores
        gradient[-1] = scores.sum(axis=0)
        gradient[:-1] += np.float32(penalty) * coefficients[:-1]
        return loss + penalty / 2 * float(weights @ weights), gradient.ravel()

    step, stepped = 0, time.perf_counter()

    def tell(loss: float, gradient: NDArray[np.float32]) -> None:
        nonlocal step, stepped
        step, before, stepped = step + 1, stepped, time.perf_counter()
        numbers = {"loss": loss, "gradient_norm": float(np.linalg.norm(gradient))}
        if report:
            report(step, {**numbers, "step_seconds": stepped - before})

    first = np.zeros(shape, np.float32) if start is None else start
    flat = minimise(objective, first.ravel(), *TOLERANCES, max_iter, tell if report else None)
    return flat.reshape(shape)


def score(blocks: Sequence[Any], coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores before the softmax, shape (rows, classes)."""
    import numpy as np

    scores = np.tile(coefficients[-1], (blocks[0].shape[0], 1))
    start = 0
    for block in blocks:
        scores += block @ coefficients[start : start + block.shape[1]]
        start += block.shape[1]
    return scores


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities, the rows of which sum to one."""
    import numpy as np

    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
