"""A second report: how a family that is trained on the older documents does on the newest.

A split by chance tests on documents of the same time; what is served answers later ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ml_assets.stores import postgres
from ml_assets.stores.sql import statement
from ml_assets.training.evaluation import log_loss
from ml_assets.training.examples import read_examples
from ml_assets.training.families.base import Family, Task, fit_family, predict_probabilities
from ml_assets.training.families.linear import LOGISTIC_REGRESSION
from ml_assets.training.model import SPLITS, TrainingSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHEAP = (LOGISTIC_REGRESSION.name,)
"""The families that are fitted once more for it."""

SHARE = 0.2


@dataclass(frozen=True, eq=False)
class InTime:
    """All rows of a training set, and which are older and which are the newest: masks, (n,)."""

    task: Task
    older: NDArray[np.bool_]
    newest: NDArray[np.bool_]


def order_in_time(connection: postgres.Connection, training_set: TrainingSet) -> InTime | None:
    """The rows of a training set by the time their documents were created.

    None: not every document has such a time, or so many have the same that none are the newest.

    Raises:
        NothingToDoError: documents changed since the training set was frozen.
    """
    rows = training_set.rows
    bound = {"document_ids": rows["document_id"].tolist()}
    created = connection.execute(statement("postgres/training/created"), bound).fetchall()
    time_of: dict[str, datetime | None] = dict(created)
    times = [time_of.get(name) for name in bound["document_ids"]]
    masks = older_and_newest(times, rows["group_id"].tolist())
    if masks is None:
        return None
    examples = read_examples(connection, training_set, *SPLITS)
    task = Task(examples, training_set.features, training_set.labels, training_set.seed)
    return InTime(task, *masks)


def older_and_newest(
    times: Sequence[datetime | None], groups: Sequence[str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Masks of the older rows, and of the newest fifth that are of no group of the older ones.

    None: a time is not known, or the newest are less than a tenth.
    """
    import numpy as np

    known = [moment for moment in times if moment is not None]
    if not known or len(known) < len(times):
        return None
    bound = sorted(known)[max(0, int(len(known) * (1 - SHARE)) - 1)]
    older = np.array([moment <= bound for moment in known])
    seen = {group for group, is_older in zip(groups, older, strict=True) if is_older}
    newest = np.array([group not in seen for group in groups])
    return (older, newest) if newest.mean() >= SHARE / 2 else None


def newest_metrics(family: Family, rows: InTime, chosen: Mapping[str, Any]) -> dict[str, float]:
    """Fit `family` on the older rows; return its metrics on the newest ones, `newest_*`.

    A label that only the newest have cannot be answered, and counts as wrong.
    """
    import numpy as np

    task, tested = rows.task, rows.task.examples.part(rows.newest)
    model = fit_family(family, task.part(rows.older), chosen)
    answers = predict_probabilities(model, tested.inputs, task.labels)
    given = np.array(task.labels, dtype=object)[answers.argmax(axis=1)]
    return {
        "newest_accuracy": float((given == tested.truth).mean()),
        "newest_log_loss": log_loss(task.labels, tested.truth, answers),
        "newest_documents": float(rows.newest.sum()),
    }
