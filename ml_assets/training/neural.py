"""The neural network: a multi-layer perceptron, trained by epochs, stopped by validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml_assets.training.evaluation import evaluate
from ml_assets.training.model import Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.neural_network import MLPClassifier

    from ml_assets.training.inputs import Task


def fit_network(
    task: Task,
    seen: NDArray[np.float64],
    unseen: NDArray[np.float64],
    parameters: Mapping[str, Any],
) -> tuple[MLPClassifier, list[Step]]:
    """Train with Adam on cross-entropy until validation log loss stops falling.

    `seen` and `unseen` are the prepared train and validation inputs, one line per document. The
    weights of the best epoch are kept; training stops `patience` epochs after it. Returns the
    network, and log loss and macro-F1 on both splits for every epoch.
    """
    from sklearn.neural_network import MLPClassifier

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
        train = _scores(task, network, seen, task.train.truth)
        validation = _scores(task, network, unseen, task.validation.truth)
        steps += [Step(epoch, "train", name, value) for name, value in train.items()]
        steps += [Step(epoch, "validation", name, value) for name, value in validation.items()]
        if validation["log_loss"] < best:
            best, best_epoch, weights = validation["log_loss"], epoch, _weights(network)
        elif epoch - best_epoch >= parameters["patience"]:
            break
    if weights is not None:
        network.coefs_, network.intercepts_ = weights
    return network, steps


def _scores(
    task: Task, network: MLPClassifier, inputs: NDArray[np.float64], truth: NDArray[np.object_]
) -> dict[str, float]:
    found = evaluate(task.labels, truth, network.predict_proba(inputs)).metrics
    return {name: found[name] for name in ("log_loss", "macro_f1")}


def _weights(network: MLPClassifier) -> tuple[list[Any], list[Any]]:
    return [w.copy() for w in network.coefs_], [b.copy() for b in network.intercepts_]
