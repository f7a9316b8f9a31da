"""The baseline that always answers with the shares of the labels in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ml_assets.training.evaluation import log_loss
from ml_assets.training.families.base import Family, Task, Trial, predict_probabilities

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline


def _try(
    task: Task, folds: Sequence[NDArray[np.bool_]], parameters: Mapping[str, Any]
) -> list[list[Trial]]:
    import numpy as np

    trials = []
    for held in folds:
        asked = task.examples.part(held)
        model = _fit(task.part(~held), parameters)
        answers = predict_probabilities(model, asked.inputs, task.labels)
        loss = log_loss(task.labels, asked.truth, answers)
        trials.append([Trial({}, loss, partial(np.asarray, answers))])
    return trials


def _fit(task: Task, parameters: Mapping[str, Any]) -> Pipeline:
    from sklearn.dummy import DummyClassifier
    from sklearn.pipeline import Pipeline

    model = Pipeline([("model", DummyClassifier(strategy="prior"))])
    return model.fit(task.examples.inputs, task.examples.truth)


FAMILY = Family("majority_class", _try, _fit, baseline=True, version=3)
