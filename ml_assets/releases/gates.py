"""Gates and decisions: the same for everything that is served.

A gate passes, blocks, warns, or cannot tell. Noise must neither block nor pass unseen: a gate that
cannot tell does not block, and is reported; so is one that warns of what is not served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ml_assets.errors import GateError

Outcome = Literal["pass", "block", "warn", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Gate:
    """The outcome of one gate, in words and in the numbers that were compared.

    A gate that blocks or warns says what to `do`.
    """

    name: str
    outcome: Outcome
    message: str
    numbers: Mapping[str, float | int]
    do: str = ""

    @property
    def compared(self) -> str:
        """The numbers, as text."""
        return ", ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())

    def __str__(self) -> str:
        """Name, message and numbers on one line."""
        return f"{self.name}: {self.message}" + (f" ({self.compared})" if self.numbers else "")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a part is served, whether this decision changed that, and why.

    `waits`: it passed its gates, and waits for the approval of a person.
    """

    served: bool
    changed: bool
    reason: str
    gates: Sequence[Gate] = ()
    waits: bool = False


def refuse_blocked(gates: Sequence[Gate], where: str) -> None:
    """Stop at the first gate that blocks.

    Raises:
        GateError: a gate blocks; the line names it and its numbers.
    """
    for gate in gates:
        if gate.outcome == "block":
            raise GateError(str(gate), where=where, do=gate.do)
