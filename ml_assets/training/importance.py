"""Permutation importance: what a model loses when one of its inputs is shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ml_assets.training.evaluation import evaluate
from ml_assets.training.families.base import predict_probabilities
from ml_assets.training.model import Examples

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_ROWS = 500
"""Rows that are measured, at most; the first of a shuffle."""


def permutation_importance(
    model: Any, examples: Examples, labels: Sequence[str], groups: dict[str, list[str]], seed: int
) -> dict[str, float]:
    """Return the loss of macro-F1 when the columns of each group are permuted together.

    Breiman (2001), "Random Forests", section 10; the columns of a vector are one input, so they
    are permuted as one. A value about 0: the model does without it.
    """
    import numpy as np

    if not groups:
        return {}
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(examples.truth))[:MAX_ROWS]
    inputs = examples.inputs.iloc[chosen].reset_index(drop=True)
    truth = examples.truth[chosen]

    def macro_f1(inputs: DataFrame) -> float:
        probabilities = predict_probabilities(model, inputs, labels)
        return evaluate(labels, truth, probabilities).metrics["macro_f1"]

    whole = macro_f1(inputs)
    losses = {}
    for name, columns in groups.items():
        shuffled = inputs.copy()
        order = generator.permutation(len(inputs))
        shuffled[columns] = inputs[columns].iloc[order].to_numpy()
        losses[name] = whole - macro_f1(shuffled.astype(inputs.dtypes.to_dict()))
    return losses
