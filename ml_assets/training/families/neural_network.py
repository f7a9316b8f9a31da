"""The neural network: a multi-layer perceptron, trained by epochs, whose number folds choose."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from ml_assets.training.evaluation import log_loss, macro_scores
from ml_assets.training.families.base import Family, Task, Trial, at_once, predict_probabilities
from ml_assets.training.families.inputs import prepare

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline


def _try(
    task: Task, folds: Sequence[NDArray[np.bool_]], parameters: Mapping[str, Any]
) -> list[list[Trial]]:
    _, (prepared,) = prepare(task, parameters)
    return at_once(lambda held: _path(task, prepared, held, parameters), folds)


def _path(
    task: Task, prepared: Any, held: NDArray[np.bool_], parameters: Mapping[str, Any]
) -> list[Trial]:
    """One trial per epoch, until `patience` epochs after that of the least log loss."""
    truth, asked = task.examples.truth[~held], task.examples.truth[held]
    seen, unseen = prepared[~held], prepared[held]
    trials: list[Trial] = []
    for epoch, network in enumerate(_epochs(truth, seen, parameters, task.seed), 1):
        answer = partial(predict_probabilities, _snapshot(network), unseen, task.labels)
        answers = answer()
        loss = log_loss(task.labels, asked, answers)
        scores = macro_scores(task.labels, asked, answers)
        trials.append(Trial({"epochs": epoch}, loss, answer, scores))
        best = min(trials, key=lambda trial: trial.log_loss).setting["epochs"]
        if epoch == parameters["max_epochs"] or epoch - best >= parameters["patience"]:
            break
    return trials


def _fit(task: Task, parameters: Mapping[str, Any]) -> Pipeline:
    from sklearn.pipeline import Pipeline

    inputs, (prepared,) = prepare(task, parameters)
    epochs = _epochs(task.examples.truth, prepared, parameters, task.seed)
    stepped = time.perf_counter()
    for epoch, network in enumerate(islice(epochs, parameters["epochs"]), 1):
        before, stepped = stepped, time.perf_counter()
        task.report(epoch, {**_state(network), "step_seconds": stepped - before})
    return Pipeline([("inputs", inputs), ("model", network)])


def _epochs(
    truth: NDArray[np.object_], prepared: Any, parameters: Mapping[str, Any], seed: int
) -> Iterator[Any]:
    """The network after each epoch of Adam on cross-entropy, without an end."""
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(
        hidden_layer_sizes=tuple(parameters["hidden"]),
        alpha=parameters["alpha"],
        learning_rate_init=parameters["learning_rate"],
        batch_size=min(parameters["batch"], len(truth)),
        random_state=seed,
    )
    while True:
        yield network.partial_fit(prepared, truth, classes=sorted(set(truth)))


def _state(network: Any) -> dict[str, float]:
    """How an epoch ended: its mean loss, Adam's step size, and the norm of its mean gradient.

    Adam's running mean of the gradient is what it goes by; it is freed of its start at 0 (Kingma
    and Ba 2015, section 3).
    """
    import numpy as np

    adam = network._optimizer
    squares = sum(float(np.square(mean).sum()) for mean in adam.ms)
    return {
        "loss": float(network.loss_),
        "learning_rate": float(adam.learning_rate),
        "gradient_norm": squares**0.5 / (1 - adam.beta_1**adam.t),
    }


def _snapshot(network: Any) -> Any:
    """The network as it is now: training goes on in the same arrays."""
    kept = copy(network)
    kept.coefs_ = [weights.copy() for weights in network.coefs_]
    kept.intercepts_ = [weights.copy() for weights in network.intercepts_]
    return kept


FAMILY = Family(
    "neural_network",
    _try,
    _fit,
    {
        "weights": {"features": 1.0, "vector": 1.0},
        "hidden": [128],
        "alpha": 1.0,
        "learning_rate": 0.001,
        "batch": 128,
        "max_epochs": 25,
        "patience": 3,
    },
    trusted=("sklearn.neural_network._stochastic_optimizers.AdamOptimizer",),
    microseconds=(700, 15),
    version=4,
)
