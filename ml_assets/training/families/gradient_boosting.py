"""Gradient boosting over histograms, stopped by validation; the vector is reduced by PCA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_assets.training.families.base import Family, Fitted, Task, score_step
from ml_assets.training.families.inputs import prepare
from ml_assets.training.model import Step


def _fit(task: Task, parameters: Mapping[str, Any]) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    inputs, seen, unseen = prepare(task, parameters)
    names = ("learning_rate", "max_iter", "max_leaf_nodes", "max_features", "l2_regularization")
    classifier = HistGradientBoostingClassifier(
        **{name: parameters[name] for name in names},
        early_stopping=True,
        n_iter_no_change=parameters["patience"],
        random_state=task.seed,
    ).fit(seen, task.train.truth, X_val=unseen, y_val=task.validation.truth)
    # Scores are negative losses; the first is that of the prior, before any tree.
    losses = [-score for score in classifier.train_score_[1:]]
    steps = [Step(number, "train", "log_loss", loss) for number, loss in enumerate(losses)]
    for number, probabilities in enumerate(classifier.staged_predict_proba(unseen)):
        steps += score_step(task, number, "validation", probabilities)
    return Fitted(Pipeline([("inputs", inputs), ("model", classifier)]), tuple(steps))


FAMILY = Family(
    "gradient_boosting",
    _fit,
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
    trusted=("numpy.dtype", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"),
)
