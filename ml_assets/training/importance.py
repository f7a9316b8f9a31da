"""Permutation importance: what a model loses when one of its inputs is shuffled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml_assets.training.evaluation import evaluate
from ml_assets.training.families.base import predict_probabilities
from ml_assets.training.model import Examples

MAX_ROWS = 500
"""Rows that are measured, at most; the first of a shuffle."""


def permutation_importance(
    model: Any, examples: Examples, labels: Sequence[str], groups: dict[str, list[str]], seed: int
) -> dict[str, float]:
    """Return the loss of a pipeline's macro-F1 when the columns of a group are permuted together.

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
    prepares, classifier = model
    prepared = {part.name: part.prepare(inputs) for part in prepares.parts}

    def macro_f1(parts: Mapping[str, Any]) -> float:
        probabilities = predict_probabilities(
            classifier, prepares.joined([*parts.values()]), labels
        )
        return evaluate(labels, truth, probabilities).metrics["macro_f1"]

    whole = macro_f1(prepared)
    losses = {}
    for name, columns in groups.items():
        order, shuffled = generator.permutation(len(inputs)), dict(prepared)
        for part in prepares.parts:
            # Rows are prepared each for itself: of a whole part, say of words, what was prepared is
            # shuffled. One of several columns is prepared again.
            if {*part.columns} <= {*columns}:
                shuffled[part.name] = prepared[part.name][order]
            elif read := {*part.columns} & {*columns}:
                mixed = {column: inputs[column].to_numpy()[order] for column in read}
                shuffled[part.name] = part.prepare(inputs.assign(**mixed))
        losses[name] = whole - macro_f1(shuffled)
    return losses
