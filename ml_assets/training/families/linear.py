"""Multinomial logistic regression, the strength of its penalty chosen on validation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ml_assets.training.evaluation import evaluate
from ml_assets.training.families.base import Fitted, Task, predict_probabilities
from ml_assets.training.families.inputs import prepare


def fit_linear(task: Task, parameters: Mapping[str, Any]) -> Fitted:
    """Fit one regression per strength of the penalty; keep the one best on validation."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    inputs = prepare(task, parameters)
    seen = inputs.fit_transform(task.train.inputs)
    if text := inputs.named_transformers_.get("text"):
        # By ints of Python: skops writes a file for every one of numpy.
        text.vocabulary_ = {word: int(column) for word, column in text.vocabulary_.items()}
    unseen = inputs.transform(task.validation.inputs)
    best, best_score = None, -1.0
    for strength in parameters["C"]:
        classifier = LogisticRegression(C=strength, max_iter=parameters["max_iter"])
        with warnings.catch_warnings():
            # A bound on the iterations is a form of early stopping; validation judges the result.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(seen, task.train.truth)
        given = predict_probabilities(classifier, unseen, task.labels)
        score = evaluate(task.labels, task.validation.truth, given).metrics["macro_f1"]
        if score > best_score:
            best, best_score = classifier, score
    assert best is not None  # noqa: S101 - a family names a strength at least
    return Fitted(Pipeline([("inputs", inputs), ("model", best)]), chosen={"C": best.C})
