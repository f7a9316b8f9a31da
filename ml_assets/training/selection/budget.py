"""Which families fit into the time for training, by what they are known to cost."""

from __future__ import annotations

from collections.abc import Sequence

from ml_assets.training.families.base import Family


def seconds(family: Family, rows: int, labels: int) -> float:
    """What it takes to fit a family on all folds and twice on all rows, on one idle core.

    By cost per row and label, so that the same set has the same families on every machine.
    """
    per_row, per_label = family.microseconds
    return rows * (per_row + per_label * labels) / 1e6


def over_budget(
    families: Sequence[Family], rows: int, labels: int, budget: float
) -> list[tuple[Family, float]]:
    """The families to leave out, with their seconds: the costliest first, until the rest fits.

    The baselines stay, and so does the cheapest of the others: a model is always trained.
    """
    costs = [(seconds(each, rows, labels), each) for each in families if not each.members]
    spent = sum(cost for cost, _ in costs)
    kept = sorted(((c, f) for c, f in costs if not f.baseline), key=lambda pair: pair[0])
    dropped = []
    while spent > budget and len(kept) > 1:
        cost, costliest = kept.pop()
        dropped.append((costliest, cost))
        spent -= cost
    return dropped
