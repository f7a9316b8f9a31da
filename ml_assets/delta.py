"""The four counts of a row delta."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from operator import add


@dataclass(frozen=True, slots=True)
class Delta:
    """How many rows a stage added, changed, removed and left alone."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0

    def __add__(self, other: Delta) -> Delta:
        """Sum two deltas, count by count."""
        return Delta(*map(add, astuple(self), astuple(other)))

    @property
    def touched(self) -> int:
        """Rows that were written or removed."""
        return self.added + self.changed + self.removed

    @property
    def total(self) -> int:
        """Rows that are there now."""
        return self.added + self.changed + self.unchanged
