"""The contract of a model family: what it is fitted on, and what it gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_assets.training.evaluation import evaluate
from ml_assets.training.examples import TEXT
from ml_assets.training.model import Examples, Split, Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Task:
    """What a family is fitted on: examples, the feature columns, all labels, the seed."""

    train: Examples
    validation: Examples
    features: tuple[str, ...]
    labels: tuple[str, ...]
    seed: int

    @property
    def vector(self) -> list[str]:
        """The columns of the vector."""
        other = {TEXT, *self.features}
        return [name for name in self.train.inputs.columns if name not in other]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted model, what it reported on its way, and the parameters chosen on validation."""

    model: Pipeline
    steps: tuple[Step, ...] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """A model family: `version` grows whenever what `fit` does changes.

    Its parameter `weights` names what it reads: `features`, `vector`, `text`. `trusted` are the
    types beyond skops' own list that its saved model holds: plain data, without code. A baseline is
    a measure that a champion has to beat, and is never served.
    """

    name: str
    fit: Callable[[Task, Mapping[str, Any]], Fitted]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    trusted: tuple[str, ...] = ()
    baseline: bool = False
    version: int = 1

    @property
    def fingerprint(self) -> str:
        """16 hex digits over name, version and parameters."""
        text = json.dumps([self.name, self.version, self.parameters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def fit_family(family: Family, task: Task) -> Fitted:
    """Fit `family` on `task`, on one thread.

    A sum over several threads depends on their number, so the result would depend on the machine;
    and on a busy one, threads that wait for each other make a fit several times slower.
    """
    import sklearn.ensemble  # noqa: F401 - its thread pool must be loaded to be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return family.fit(task, family.parameters)


def predict_probabilities(model: Any, inputs: Any, labels: Sequence[str]) -> NDArray[np.float64]:
    """Return probabilities of shape (len(inputs), len(labels)); a label unknown to it has 0."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    known = {label: index for index, label in enumerate(model.classes_)}
    # As in `fit_family`: on a busy machine two threads are several times slower than one.
    with threadpool_limits(1):
        given = np.asarray(model.predict_proba(inputs), dtype=np.float64)
    aligned = np.zeros((len(given), len(labels)))
    for index, label in enumerate(labels):
        if label in known:
            aligned[:, index] = given[:, known[label]]
    return aligned


def score_step(
    task: Task, step: int, split: Split, probabilities: NDArray[np.float64]
) -> list[Step]:
    """Log loss and macro-F1 on `split` (train or validation) after one epoch or iteration."""
    truth = (task.train if split == "train" else task.validation).truth
    metrics = evaluate(task.labels, truth, probabilities).metrics
    return [Step(step, split, name, metrics[name]) for name in ("log_loss", "macro_f1")]
