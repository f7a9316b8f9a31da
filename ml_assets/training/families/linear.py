"""Multinomial logistic regressions on words, features and the vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ml_assets.training.evaluation import log_loss
from ml_assets.training.families.base import Family, Task, Trial, align, at_once
from ml_assets.training.families.inputs import prepare
from ml_assets.training.families.softmax import fit_softmax, score, softmax
from ml_assets.training.model import Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline


def _try(
    task: Task, folds: Sequence[NDArray[np.bool_]], parameters: Mapping[str, Any]
) -> list[list[Trial]]:
    _, blocks = prepare(task, parameters)
    return at_once(lambda held: _path(task, blocks, held, parameters), folds)


def _path(
    task: Task, blocks: Sequence[Any], held: NDArray[np.bool_], parameters: Mapping[str, Any]
) -> list[Trial]:
    """One regression per strength of the penalty, each begun where the stronger one ended."""
    import numpy as np

    truth, asked = task.examples.truth[~held], task.examples.truth[held]
    seen, unseen = ([block[rows] for block in blocks] for rows in (~held, held))
    trials, coefficients = [], None
    for strength in sorted(parameters["C"]):
        classes, coefficients = _solve(truth, seen, parameters, strength, coefficients)
        answers = align(softmax(score(unseen, coefficients)), classes, task.labels)
        loss = log_loss(task.labels, asked, answers)
        trials.append(Trial({"C": strength}, loss, partial(np.asarray, answers)))
    return trials


def _fit(task: Task, parameters: Mapping[str, Any]) -> Pipeline:
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    inputs, blocks = prepare(task, parameters)
    strength = parameters["C"]
    classes, coefficients = _solve(
        task.examples.truth, blocks, parameters, strength, report=task.report
    )
    if len(classes) == 2:
        # Of two classes scikit-learn keeps one line: how far the second is above the first.
        coefficients = coefficients[:, 1:] - coefficients[:, :1]
    model = LogisticRegression(C=strength, max_iter=parameters["max_iter"])
    model.classes_, model.n_features_in_ = np.array(classes, dtype=object), len(coefficients) - 1
    model.coef_, model.intercept_ = coefficients[:-1].T.copy(), coefficients[-1].copy()
    model.n_iter_ = np.array([parameters["max_iter"]], dtype=np.int32)
    return Pipeline([("inputs", inputs), ("model", model)])


def _solve(
    labels: NDArray[np.object_],
    blocks: Sequence[Any],
    parameters: Mapping[str, Any],
    strength: float,
    start: NDArray[np.float32] | None = None,
    report: Report | None = None,
) -> tuple[list[str], NDArray[np.float32]]:
    """The classes among the labels of the rows, and the coefficients."""
    import numpy as np

    classes, truth = np.unique(labels.astype(str), return_inverse=True)
    solved = fit_softmax(
        blocks, truth, len(classes), strength, start, parameters["max_iter"], report
    )
    return classes.tolist(), solved


TFIDF = Family(
    "tfidf_baseline",
    _try,
    _fit,
    {"weights": {"text": 1.0}, "min_df": 2, "C": [3.0, 30.0], "max_iter": 100},
    baseline=True,
    microseconds=(900, 9),
    version=4,
)
"""It sees words and pairs of words alone."""

LOGISTIC_REGRESSION = Family(
    "logistic_regression",
    _try,
    _fit,
    {"weights": {"features": 1.0, "vector": 1.0}, "C": [0.004, 0.03, 0.25], "max_iter": 100},
    microseconds=(300, 7),
    version=4,
)
TEXT_AND_VECTOR = Family(
    "text_and_vector_regression",
    _try,
    _fit,
    {
        "weights": {"features": 0.1, "vector": 2.0, "text": 1.0, "title": 2.0},
        "scale_vector": False,
        "min_df": 2,
        "C": [1.0, 6.0, 30.0],
        "max_iter": 100,
    },
    trusted=("ml_assets.training.families.titles.title_terms",),
    microseconds=(700, 9),
    version=5,
)
