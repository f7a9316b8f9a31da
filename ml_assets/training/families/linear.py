"""Multinomial logistic regressions on words, features and the vector."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ml_assets.training.evaluation import evaluate
from ml_assets.training.families.base import Family, Fitted, Task, predict_probabilities
from ml_assets.training.families.inputs import prepare


def fit_linear(task: Task, parameters: Mapping[str, Any]) -> Fitted:
    """Fit one regression per strength of the penalty; keep the one best on validation."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    inputs, seen, unseen = prepare(task, parameters)

    def score(classifier: LogisticRegression) -> float:
        given = predict_probabilities(classifier, unseen, task.labels)
        return evaluate(task.labels, task.validation.truth, given).metrics["macro_f1"]

    with warnings.catch_warnings():
        # A bound on the iterations is a form of early stopping; validation judges the result.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifiers = [
            LogisticRegression(C=strength, max_iter=parameters["max_iter"]).fit(
                seen, task.train.truth
            )
            for strength in parameters["C"]
        ]
    best = max(classifiers, key=score)
    return Fitted(Pipeline([("inputs", inputs), ("model", best)]), chosen={"C": best.C})


TFIDF = Family(
    "tfidf_baseline",
    fit_linear,
    {"weights": {"text": 1.0}, "min_df": 2, "C": [3.0, 30.0], "max_iter": 100},
    baseline=True,
)
"""It sees words and pairs of words alone."""

LOGISTIC_REGRESSION = Family(
    "logistic_regression",
    fit_linear,
    {"weights": {"features": 1.0, "vector": 1.0}, "C": [0.02, 0.2], "max_iter": 100},
)
TEXT_AND_VECTOR = Family(
    "text_and_vector_regression",
    fit_linear,
    {
        "weights": {"features": 0.1, "vector": 2.0, "text": 1.0},
        "scale_vector": False,
        "min_df": 2,
        "C": [2.0, 15.0],
        "max_iter": 100,
    },
)
