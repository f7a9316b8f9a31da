"""The neural network: a multi-layer perceptron, trained by epochs, stopped by validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_assets.training.families.base import Family, Fitted, Task, score_step
from ml_assets.training.families.inputs import prepare
from ml_assets.training.model import Step


def _fit(task: Task, parameters: Mapping[str, Any]) -> Fitted:
    """Train with Adam on cross-entropy until validation log loss stops falling.

    The weights of the best epoch are kept; training stops `patience` epochs after it.
    """
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import Pipeline

    inputs, seen, unseen = prepare(task, parameters)
    network = MLPClassifier(
        hidden_layer_sizes=tuple(parameters["hidden"]),
        alpha=parameters["alpha"],
        learning_rate_init=parameters["learning_rate"],
        batch_size=min(parameters["batch"], len(seen)),
        random_state=task.seed,
    )
    steps: list[Step] = []
    best, best_epoch, weights = float("inf"), 0, None
    for epoch in range(parameters["max_epochs"]):
        network.partial_fit(seen, task.train.truth, classes=list(task.labels))
        validation = score_step(task, epoch, "validation", network.predict_proba(unseen))
        steps += score_step(task, epoch, "train", network.predict_proba(seen)) + validation
        loss = validation[0].value
        if loss < best:
            best, best_epoch = loss, epoch
            weights = [w.copy() for w in network.coefs_], [b.copy() for b in network.intercepts_]
        elif epoch - best_epoch >= parameters["patience"]:
            break
    if weights is not None:
        network.coefs_, network.intercepts_ = weights
    return Fitted(Pipeline([("inputs", inputs), ("model", network)]), tuple(steps))


FAMILY = Family(
    "neural_network",
    _fit,
    {
        "weights": {"features": 1.0, "vector": 1.0},
        "hidden": [128],
        "alpha": 1.0,
        "learning_rate": 0.001,
        "batch": 128,
        "max_epochs": 40,
        "patience": 5,
    },
    trusted=("sklearn.neural_network._stochastic_optimizers.AdamOptimizer",),
)
