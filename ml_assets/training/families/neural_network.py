"""The neural network: a multi-layer perceptron, trained by epochs, whose number folds choose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from ml_assets.training.evaluation import log_loss
from ml_assets.training.families.base import Family, Task, Trial, predict_probabilities
from ml_assets.training.families.inputs import prepare
from ml_assets.training.model import Examples

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def _try(task: Task, held_out: Examples, parameters: Mapping[str, Any]) -> list[Trial]:
    """One trial per epoch, until `patience` epochs after that of the least log loss."""
    inputs, prepared = prepare(task, parameters)
    unseen = inputs.transform(held_out.inputs).astype("float32")
    trials: list[Trial] = []
    for epoch, network in enumerate(_epochs(task, prepared, parameters), 1):
        answer = partial(predict_probabilities, _snapshot(network), unseen, task.labels)
        loss = log_loss(task.labels, held_out.truth, answer())
        trials.append(Trial({"epochs": epoch}, loss, answer))
        best = min(trials, key=lambda trial: trial.log_loss).setting["epochs"]
        if epoch == parameters["max_epochs"] or epoch - best >= parameters["patience"]:
            break
    return trials


def _fit(task: Task, parameters: Mapping[str, Any]) -> Pipeline:
    from sklearn.pipeline import Pipeline

    inputs, prepared = prepare(task, parameters)
    *_, network = islice(_epochs(task, prepared, parameters), parameters["epochs"])
    return Pipeline([("inputs", inputs), ("model", network)])


def _epochs(task: Task, prepared: Any, parameters: Mapping[str, Any]) -> Iterator[Any]:
    """The network after each epoch of Adam on cross-entropy, without an end."""
    from sklearn.neural_network import MLPClassifier

    truth, prepared = task.examples.truth, prepared.astype("float32")
    network = MLPClassifier(
        hidden_layer_sizes=tuple(parameters["hidden"]),
        alpha=parameters["alpha"],
        learning_rate_init=parameters["learning_rate"],
        batch_size=min(parameters["batch"], len(truth)),
        random_state=task.seed,
    )
    while True:
        yield network.partial_fit(prepared, truth, classes=sorted(set(truth)))


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
        "max_epochs": 40,
        "patience": 3,
    },
    trusted=("sklearn.neural_network._stochastic_optimizers.AdamOptimizer",),
    version=2,
)
