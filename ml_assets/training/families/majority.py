"""The baseline that always answers with the shares of the labels in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml_assets.training.evaluation import log_loss
from ml_assets.training.families.base import Family, Task, Trial, predict_probabilities
from ml_assets.training.model import Examples

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def _try(task: Task, held_out: Examples, parameters: Mapping[str, Any]) -> list[Trial]:
    answers = predict_probabilities(_fit(task, parameters), held_out.inputs, task.labels)
    return [Trial({}, log_loss(task.labels, held_out.truth, answers), lambda: answers)]


def _fit(task: Task, parameters: Mapping[str, Any]) -> Pipeline:
    from sklearn.dummy import DummyClassifier
    from sklearn.pipeline import Pipeline

    model = Pipeline([("model", DummyClassifier(strategy="prior"))])
    return model.fit(task.examples.inputs, task.examples.truth)


FAMILY = Family("majority_class", _try, _fit, baseline=True, version=2)
