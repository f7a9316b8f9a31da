"""A model version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ml_assets.training.model import Candidate, TrainingSet

MODEL_NAME = "document_classifier"
"""The name of the one registered model; its versions are the candidates that were chosen."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered model version: the candidate that was chosen, and what it needs to answer.

    The number is ours: in MLflow it is found by its candidate's run and the URI of its model. It
    answers with vectors of `space_id` and with `feature_views`. `seed` is that of the split of
    its training set; None: it was not kept.
    """

    name: str
    version: int
    space_id: str
    seed: int | None
    feature_views: Mapping[str, str]
    metrics: Mapping[str, float]
    candidate: Candidate

    @property
    def subject(self) -> str:
        """Its name in the audit log: `name/number`."""
        return f"{self.name}/{self.version}"

    def answers_for(self, training_set: TrainingSet) -> bool:
        """Whether it reads the vectors and the features that a training set has."""
        needs = (self.space_id, self.feature_views)
        return needs == (training_set.space_id, training_set.feature_views)
