"""Folds within the rows that models learn from: whole groups, every label in as many as can be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FOLDS, _MANY, _FOLDS_OF_MANY = 5, 5_000, 3
"""Of many rows two thirds are enough to learn from, and three folds cost half of five."""


def fold_count(rows: int) -> int:
    """How many folds so many rows are dealt to."""
    return _FOLDS if rows <= _MANY else _FOLDS_OF_MANY


def assign_folds(
    groups: Sequence[str], labels: Sequence[str], seed: int, count: int
) -> NDArray[np.int64]:
    """The fold of each row, 0 … `count` - 1; a group is never in two.

    The groups of a label, in an order that follows from their names and the seed, are dealt to the
    folds in turn; a group of several labels is dealt with the first of them.
    """
    import numpy as np

    label_of: dict[str, str] = {}
    for group, label in zip(groups, labels, strict=True):
        label_of[group] = min(label, label_of.get(group, label))
    order = sorted(label_of, key=lambda group: (label_of[group], _place(group, seed)))
    fold_of = {group: position % count for position, group in enumerate(order)}
    return np.array([fold_of[group] for group in groups], dtype=np.int64)


def _place(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"fold:{seed}:{group}".encode()).digest()
