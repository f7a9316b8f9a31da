"""What a family learns: a setting and a temperature from folds, and models for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.errors import first_line
from ml_assets.training.families.average import Average, mean
from ml_assets.training.families.base import Family, Task, UnfitError, cool, fit_family
from ml_assets.training.model import Step
from ml_assets.training.selection.cross_validation import cross_validate
from ml_assets.training.selection.shares import fit_shares
from ml_assets.training.selection.temperature import fit_temperature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Learned:
    """What was chosen, and calibrated answers out of fold, float32, shape (rows, labels)."""

    chosen: Mapping[str, Any]
    probabilities: NDArray[np.float32]
    steps: tuple[Step, ...] = ()


def learn(
    family: Family,
    task: Task,
    folds: NDArray[np.int64],
    answers: Mapping[str, NDArray[np.float32]],
) -> Learned:
    """Choose setting and temperature of `family` by what it answers out of fold.

    An average takes the `answers` out of fold of those of its members that have some.

    Raises:
        UnfitError: scikit-learn cannot fit it on these rows, or too few members were.
    """
    setting: dict[str, Any]
    steps: tuple[Step, ...] = ()
    if family.members:
        names = [each.name for each in family.members if each.name in answers]
        if len(names) < 2:
            raise UnfitError(f"of its members {len(names)} could be fitted")
        given = [answers[name] for name in names]
        shares = fit_shares(task.labels, task.examples.truth, given)
        setting = {"shares": {name: n for name, n in zip(names, shares, strict=True) if n}}
        raw = mean(given, shares).astype("float32")
    else:
        try:
            crossed = cross_validate(family, task, folds)
        except ValueError as error:
            raise UnfitError(first_line(error)) from error
        setting, steps, raw = dict(crossed.setting), crossed.steps, crossed.probabilities
    temperature = fit_temperature(task.labels, task.examples.truth, raw)
    calibrated = cool(raw, temperature).astype("float32")
    return Learned({**setting, "temperature": temperature}, calibrated, steps)


def build(
    family: Family,
    task: Task,
    chosen: Mapping[str, Any],
    fitted: Callable[[Sequence[Family]], Sequence[Any]],
) -> Any:
    """Fit `family` with what was chosen on all of `task`; `fitted` gives an average its models.

    Raises:
        UnfitError: scikit-learn cannot fit it on these rows.
    """
    if family.members:
        shares = chosen["shares"]
        members = [each for each in family.members if each.name in shares]
        weights = [shares[each.name] for each in members]
        return Average(fitted(members), chosen["temperature"], weights)
    try:
        return fit_family(family, task, chosen)
    except ValueError as error:
        raise UnfitError(first_line(error)) from error
