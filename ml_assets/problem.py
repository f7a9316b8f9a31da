"""What a check found wrong, and the command that repairs it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

EXAMPLES = 10
"""So many offenders are named at most."""

REPAIR = "ml-assets repair"
"""The command that has what is damaged made again."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows that are not as they should be: of which kind, how many, and the names of the first."""

    problem: str
    rows: int
    examples: Sequence[str]

    @classmethod
    def of(cls, problem: str, names: Collection[str]) -> list[Self]:
        """The problem that these have; none without names."""
        return [cls(problem, len(names), sorted(names)[:EXAMPLES])] if names else []
