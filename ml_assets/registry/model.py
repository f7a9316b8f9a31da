"""A model version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MODEL_NAME = "document_classifier"
"""The name of the one registered model; its versions are the candidates that were chosen."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered model version, what it was trained on, and what it needs to answer.

    It answers with vectors of `space_id` and with `feature_views`. `seed` is that of the split of
    its training set; None: it was not kept.
    """

    name: str
    version: int
    run_id: str
    family: str
    uri: str
    training_set_hash: str
    space_id: str
    seed: int | None
    feature_views: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def subject(self) -> str:
        """Its name in the audit log: `name/number`."""
        return f"{self.name}/{self.version}"
