"""What a training set, its examples, a candidate and an evaluation are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled document of a frozen training set; a missing feature value is None."""

    document_id: str
    label: str
    group: str
    part: Part
    label_time: datetime
    text_hash: str
    features: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A frozen training set: what it holds, and what it was made from.

    `hash` covers the rows, the vector space, the feature views and the seed of the split. A set
    without rows has no hash, and `reason` says why nothing can be trained.
    """

    hash: str
    space_id: str
    seed: int
    feature_views: Mapping[str, str]
    rows: tuple[Row, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return tuple(sorted({row.label for row in self.rows}))

    @property
    def features(self) -> tuple[str, ...]:
        """The feature names, sorted; `view.feature`."""
        return tuple(sorted(self.rows[0].features)) if self.rows else ()

    def part(self, part: Part) -> tuple[Row, ...]:
        """The rows of one part of the split."""
        return tuple(row for row in self.rows if row.part == part)


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows as a model sees them.

    `inputs` has one line per document: `text`, one column per feature, and the document's vector in
    `e000`, `e001`, …; `truth` is the label of each.
    """

    inputs: DataFrame
    truth: np.ndarray


@dataclass(frozen=True, slots=True)
class Step:
    """Metrics of one epoch or iteration of a training."""

    step: int
    split: Literal["train", "validation"]
    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model family: its MLflow run, and `<part>_<metric>` for validation and test."""

    run_id: str
    training_set_hash: str
    family: str
    fingerprint: str
    parameters: Mapping[str, object]
    metrics: Mapping[str, float]
