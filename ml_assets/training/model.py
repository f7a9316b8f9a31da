"""What a training set, its examples, a training step and a candidate are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from pandas import DataFrame

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
DEVELOPMENT: tuple[Split, ...] = ("train", "validation")
"""The rows that models learn from, in folds; no test split of a later set has them."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """A frozen training set: its rows, and what they were made from.

    `rows` has one line per document, sorted by id: `document_id`, `label`, `group_id`, `split`,
    `label_time`, `text_hash` and one column per name in `features` (NaN: not known). `hash` covers
    all of it but `label_time`, and the vector space, the feature views and the seed of the split. A
    set that cannot be trained on has no rows and no hash, and `reason` says why.
    """

    hash: str
    space_id: str
    seed: int
    feature_views: Mapping[str, str]
    features: tuple[str, ...]
    rows: DataFrame
    left_out: Mapping[str, int] = field(default_factory=dict)
    unembedded: int = 0
    reason: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return tuple(sorted(set(self.rows["label"])))


@dataclass(frozen=True, eq=False)
class Examples:
    """Documents as a model sees them, with the right answers.

    `inputs` has one line per document: `text` (title, line end, text), one column per feature
    (float64, NaN: not known), and the document's unit vector in `e0`, `e1`, … (float32). `truth`
    holds the labels.
    """

    inputs: DataFrame
    truth: np.ndarray
    document_ids: tuple[str, ...]

    def part(self, rows: np.ndarray) -> Examples:
        """Those of the documents where `rows`, a mask, is true."""
        chosen = rows.nonzero()[0]
        ids = tuple(self.document_ids[row] for row in chosen)
        return Examples(self.inputs.iloc[chosen].reset_index(drop=True), self.truth[chosen], ids)


class Step(NamedTuple):
    """One metric of one epoch or iteration of a training."""

    step: int
    split: Split
    metric: str
    value: float


Report = Callable[[int, Mapping[str, float]], None]
"""Told the metrics of an epoch or iteration, while a family is fitted."""


class Field(NamedTuple):
    """What a model takes or gives: a column, or the columns of a vector as one."""

    direction: Literal["input", "output"]
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model family: its MLflow run, and `<split>_<metric>` for validation and test.

    Those for validation are of its answers out of fold, over all rows that it learns from.

    `model_uri` is the model that was measured on test, which it has not seen. The candidate that is
    chosen is fitted anew on all rows and serves as `refitted_uri`. `onnx_sha256` is that of the
    ONNX form of the model that serves, empty where it has none; then `onnx_reason` says why.
    `resampled`: macro-F1 out of fold on draws of the documents. `files`: the sha256 of each file
    that was logged, by its path in our folder; none on a server. `sizes`: the bytes of each.
    """

    run_id: str
    training_set_hash: str
    family: str
    fingerprint: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    model_uri: str
    refitted_uri: str = ""
    onnx_sha256: str = ""
    onnx_reason: str = ""
    resampled: Sequence[float] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def served_uri(self) -> str:
        """The model that serves: an older version, and one that was not chosen, has one alone."""
        return self.refitted_uri or self.model_uri

    @property
    def uris(self) -> tuple[str, ...]:
        """All its models."""
        return tuple(uri for uri in (self.model_uri, self.refitted_uri) if uri)
