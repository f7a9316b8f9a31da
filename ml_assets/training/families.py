"""Model families: scikit-learn pipelines over text, features and vectors, and how each is fitted.

Every estimator is one that skops can save and load, so that no model is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_assets.training.evaluation import evaluate
from ml_assets.training.inputs import Task, plain_vocabulary, prepare
from ml_assets.training.model import Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
)
"""Types beyond skops' own list that a saved model may hold: plain data, without code."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted model, what it reported on its way, and the parameters chosen on validation."""

    model: Pipeline
    steps: tuple[Step, ...] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)


Fit = Callable[[Task, Mapping[str, Any]], Fitted]


@dataclass(frozen=True, slots=True)
class Family:
    """A model family: `version` grows whenever what `fit` does changes."""

    name: str
    fit: Fit
    inputs: frozenset[str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    @property
    def fingerprint(self) -> str:
        """16 hex digits over name, version and parameters."""
        text = json.dumps([self.name, self.version, self.parameters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def fit_family(family: Family, task: Task) -> Fitted:
    """Fit `family` on `task`, on one thread.

    A sum over several threads depends on their number, so the result would depend on the machine;
    and on a busy one, threads that wait for each other make a fit several times slower.
    """
    import sklearn.ensemble  # noqa: F401 - its thread pool must be loaded to be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return family.fit(task, family.parameters)


def predict_probabilities(model: Any, inputs: Any, labels: Sequence[str]) -> NDArray[np.float64]:
    """Return probabilities of shape (len(inputs), len(labels)); a label unknown to it has 0."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    known = {label: index for index, label in enumerate(model.classes_)}
    # As in `fit_family`: on a busy machine two threads are several times slower than one.
    with threadpool_limits(1):
        given = np.asarray(model.predict_proba(inputs), dtype=np.float64)
    aligned = np.zeros((len(given), len(labels)))
    for index, label in enumerate(labels):
        if label in known:
            aligned[:, index] = given[:, known[label]]
    return aligned


def _fit_majority(task: Task, parameters: Mapping[str, Any]) -> Fitted:
    from sklearn.dummy import DummyClassifier
    from sklearn.pipeline import Pipeline

    model = Pipeline([("model", DummyClassifier(strategy="prior"))])
    return Fitted(model.fit(task.train.inputs, task.train.truth))


def _fit_linear(task: Task, parameters: Mapping[str, Any]) -> Fitted:
    """Fit one regression per strength of the penalty; keep the one best on validation."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    inputs = prepare(task, parameters)
    seen = inputs.fit_transform(task.train.inputs)
    plain_vocabulary(inputs)
    unseen = inputs.transform(task.validation.inputs)
    found = []
    for strength in parameters["C"]:
        classifier = LogisticRegression(C=strength, max_iter=parameters["max_iter"])
        with warnings.catch_warnings():
            # A bound on the iterations is a form of early stopping; validation judges the result.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(seen, task.train.truth)
        given = predict_probabilities(classifier, unseen, task.labels)
        found.append((evaluate(task.labels, task.validation.truth, given), strength, classifier))
    _, strength, best = max(found, key=lambda one: one[0].metrics["macro_f1"])
    return Fitted(Pipeline([("inputs", inputs), ("model", best)]), chosen={"C": strength})


def _fit_boosting(task: Task, parameters: Mapping[str, Any]) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    inputs = prepare(task, parameters)
    seen = inputs.fit_transform(task.train.inputs)
    unseen = inputs.transform(task.validation.inputs)
    classifier = HistGradientBoostingClassifier(
        learning_rate=parameters["learning_rate"],
        max_iter=parameters["max_iter"],
        max_leaf_nodes=parameters["max_leaf_nodes"],
        max_features=parameters["max_features"],
        l2_regularization=parameters["l2_regularization"],
        early_stopping=True,
        n_iter_no_change=parameters["patience"],
        random_state=task.seed,
    ).fit(seen, task.train.truth, X_val=unseen, y_val=task.validation.truth)
    steps = _boosting_steps(task, classifier, unseen)
    return Fitted(Pipeline([("inputs", inputs), ("model", classifier)]), tuple(steps))


def _boosting_steps(task: Task, classifier: Any, unseen: NDArray[np.float64]) -> list[Step]:
    # Scores are negative losses; the first is that of the prior, before any tree.
    losses = [Step(n, "train", "log_loss", -s) for n, s in enumerate(classifier.train_score_[1:])]
    staged = classifier.staged_predict_proba(unseen)
    return losses + [
        step
        for number, probabilities in enumerate(staged)
        for step in validation_steps(task, number, classifier.classes_, probabilities)
    ]


def validation_steps(
    task: Task, number: int, classes: Sequence[str], probabilities: NDArray[np.float64]
) -> list[Step]:
    """Log loss and macro-F1 on validation after one epoch or iteration."""
    found = evaluate(tuple(classes), task.validation.truth, probabilities).metrics
    return [Step(number, "validation", name, found[name]) for name in ("log_loss", "macro_f1")]


def _fit_network(task: Task, parameters: Mapping[str, Any]) -> Fitted:
    from sklearn.pipeline import Pipeline

    from ml_assets.training.neural import fit_network

    inputs = prepare(task, parameters)
    seen = inputs.fit_transform(task.train.inputs)
    classifier, steps = fit_network(
        task, seen, inputs.transform(task.validation.inputs), parameters
    )
    return Fitted(Pipeline([("inputs", inputs), ("model", classifier)]), tuple(steps))


MAJORITY = Family("majority_class", _fit_majority, frozenset())
TFIDF = Family(
    "tfidf_baseline",
    _fit_linear,
    frozenset({"text"}),
    {"weights": {"text": 1.0}, "min_df": 2, "C": [3.0, 30.0], "max_iter": 100},
)
FAMILIES: tuple[Family, ...] = (
    MAJORITY,
    TFIDF,
    Family(
        "logistic_regression",
        _fit_linear,
        frozenset({"features", "vector"}),
        {"weights": {"features": 1.0, "vector": 1.0}, "C": [0.02, 0.2], "max_iter": 100},
    ),
    Family(
        "text_and_vector_regression",
        _fit_linear,
        frozenset({"features", "vector", "text"}),
        {
            "weights": {"features": 0.1, "vector": 2.0, "text": 1.0},
            "scale_vector": False,
            "min_df": 2,
            "C": [2.0, 15.0],
            "max_iter": 100,
        },
    ),
    Family(
        "gradient_boosting",
        _fit_boosting,
        frozenset({"features", "vector"}),
        {
            "weights": {"features": 1.0, "vector": 1.0},
            "components": 64,
            "learning_rate": 0.15,
            "max_iter": 60,
            "max_leaf_nodes": 15,
            "max_features": 0.3,
            "l2_regularization": 1.0,
            "patience": 8,
        },
    ),
    Family(
        "neural_network",
        _fit_network,
        frozenset({"features", "vector"}),
        {
            "weights": {"features": 1.0, "vector": 1.0},
            "hidden": [128],
            "alpha": 1.0,
            "learning_rate": 0.001,
            "batch": 128,
            "max_epochs": 40,
            "patience": 5,
        },
    ),
)
"""Every candidate; the first two are the baselines that a first champion has to beat."""

BASELINES = (MAJORITY.name, TFIDF.name)
