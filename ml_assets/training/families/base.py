"""The contract of a model family: what it is fitted on, which settings it tries, what it gives."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ml_assets.training.examples import TEXT
from ml_assets.training.model import Examples, Report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

Part = TypeVar("Part")
Result = TypeVar("Result")


def _unheard(step: int, metrics: Mapping[str, float]) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a family is fitted on: examples, the feature columns, all labels, the seed.

    `report` is told of each step of a fit, not of those on folds.
    """

    examples: Examples
    features: tuple[str, ...]
    labels: tuple[str, ...]
    seed: int
    report: Report = _unheard

    @property
    def vector(self) -> list[str]:
        """The columns of the vector."""
        other = {TEXT, *self.features}
        return [name for name in self.examples.inputs.columns if name not in other]

    def part(self, rows: NDArray[np.bool_]) -> Task:
        """The task of these rows alone."""
        return replace(self, examples=self.examples.part(rows))


@dataclass(frozen=True, eq=False)
class Trial:
    """What a family with one setting answers on rows that it was not fitted on.

    `answer` gives probabilities of the shape (rows, labels); it is called for the best alone.
    `scores` are further metrics of an epoch.
    """

    setting: Mapping[str, Any]
    log_loss: float
    answer: Callable[[], NDArray[np.floating]]
    scores: Mapping[str, float] = field(default_factory=dict)


Try = Callable[[Task, "Sequence[NDArray[np.bool_]]", Mapping[str, Any]], list[list[Trial]]]
"""For each mask of rows held out: fits on the others once per setting, and answers on those.

Inputs are prepared once for all: vocabulary, quantiles and scales are of all rows, and of no label.
"""
Fit = Callable[[Task, Mapping[str, Any]], "Pipeline"]
"""Fits with one setting, which stands among the parameters."""


class UnfitError(Exception):
    """A family cannot be fitted on a task; it is left out, for the reason of the message."""


@dataclass(frozen=True, slots=True)
class Family:
    """A model family: `version` grows whenever what it gives changes.

    Its parameter `weights` names what it reads: `features`, `vector`, `text`. `trusted` are the
    types beyond skops' own list that its saved model holds: plain data, without code. A baseline is
    a measure that a champion has to beat, and is never served. `microseconds` of a processor, per
    row and per row and label, are what it costs to try and fit on all folds. One with `members` is
    an average: it has nothing to fit.
    """

    name: str
    try_folds: Try | None = None
    fit: Fit | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    trusted: tuple[str, ...] = ()
    baseline: bool = False
    microseconds: tuple[float, float] = (0.0, 0.0)
    members: tuple[Family, ...] = ()
    version: int = 1

    @property
    def fingerprint(self) -> str:
        """16 hex digits over name, version, parameters, and those of the members."""
        members = [member.fingerprint for member in self.members]
        text = json.dumps([self.name, self.version, self.parameters, members], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def at_once(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """What `work` gives for each part, in their order, on as many threads as there are processors.

    A part is computed on one thread, as it would be alone: results are those of any machine.
    """
    from threadpoolctl import threadpool_limits

    threads = min(len(parts), os.cpu_count() or 1)
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def fit_family(family: Family, task: Task, chosen: Mapping[str, Any]) -> Pipeline:
    """Fit `family` on `task` with the chosen setting and `temperature`, on one thread.

    A sum over several threads depends on their number, so the result would depend on the machine;
    and on a busy one, threads that wait for each other make a fit several times slower.
    """
    import sklearn.neural_network  # noqa: F401 - its libraries must be loaded to be limited
    from threadpoolctl import threadpool_limits

    if family.fit is None:
        raise TypeError(f"{family.name} has nothing to fit")
    with threadpool_limits(1):
        model = family.fit(task, {**family.parameters, **chosen})
    _divide_scores(model[-1], chosen.get("temperature", 1.0))
    return model


def cool(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """p^(1/T), made to sum to one in each row (Guo et al. 2017); 0 stays 0."""
    import numpy as np

    raised = probabilities.astype(np.float64) ** (1 / temperature)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _divide_scores(classifier: Any, temperature: float) -> None:
    """Do as `cool` does, within a model: its scores before the softmax become smaller.

    The last layer is linear, so the division is one of its weights, and no form of the model has to
    know of it.
    """
    if hasattr(classifier, "coef_"):
        classifier.coef_ /= temperature
        classifier.intercept_ /= temperature
    elif hasattr(classifier, "coefs_"):
        classifier.coefs_[-1] /= temperature
        classifier.intercepts_[-1] /= temperature


def predict_probabilities(model: Any, inputs: Any, labels: Sequence[str]) -> NDArray[np.float64]:
    """Return probabilities of shape (len(inputs), len(labels)); a label unknown to it has 0."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    # As in `fit_family`: on a busy machine two threads are several times slower than one.
    with threadpool_limits(1):
        given = np.asarray(model.predict_proba(inputs), dtype=np.float64)
    return align(given, model.classes_, labels).astype(np.float64, copy=False)


def align(
    given: NDArray[np.floating], known: Sequence[str], labels: Sequence[str]
) -> NDArray[np.floating]:
    """Put columns of the labels that a model knows in the order of `labels`; others have 0."""
    import numpy as np

    places = {label: index for index, label in enumerate(known)}
    aligned = np.zeros((len(given), len(labels)), dtype=given.dtype)
    for index, label in enumerate(labels):
        if label in places:
            aligned[:, index] = given[:, places[label]]
    return aligned
