"""The baseline that always answers with the shares of the labels in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_assets.training.families.base import Family, Fitted, Task


def _fit(task: Task, parameters: Mapping[str, Any]) -> Fitted:
    from sklearn.dummy import DummyClassifier
    from sklearn.pipeline import Pipeline

    model = Pipeline([("model", DummyClassifier(strategy="prior"))])
    return Fitted(model.fit(task.train.inputs, task.train.truth))


FAMILY = Family("majority_class", _fit, baseline=True)
