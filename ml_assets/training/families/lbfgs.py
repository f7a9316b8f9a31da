"""L-BFGS in float32: for a smooth convex objective of a million variables, in few passes over them.

SciPy's keeps float64, and passes over its memory some eight times an iteration: of a regression on
words that took longer than the objective.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

Objective = Callable[["Vector"], "tuple[float, Vector]"]
"""The value at a point, and the gradient there."""

_MEMORY = 6
"""Steps that are remembered."""
_BLOCK = 16384
"""Columns of remembered vectors that stay in the cache while they are multiplied: 0.8 MB."""
_SUFFICIENT = 1e-4
"""Of the decrease that the slope promises (Armijo)."""
_HALVINGS = 30


def minimise(
    objective: Objective,
    start: Vector,
    gradient_tolerance: float,
    value_tolerance: float,
    max_iter: int,
    tell: Callable[[float, Vector], None] | None = None,
) -> Vector:
    """Return where the objective is least, from `start`, (n,), on.

    It ends after `max_iter` steps; where the largest derivative is within `gradient_tolerance`, or
    a step gains no more than `value_tolerance` of the value, or of 1 if that is more. `tell` is
    told value and gradient after each step.

    Source: Nocedal and Wright, "Numerical Optimization", 2006, algorithm 7.5, with its two loops
    over coefficients of the remembered vectors, whose products are kept (Chen et al. 2014,
    "Large-scale L-BFGS using MapReduce"). Of a convex objective each step has positive curvature,
    so that backtracking is enough of a line search.
    """
    import numpy as np

    point = start.astype(np.float32)
    value, gradient = objective(point)
    memory = _Memory(gradient)
    direction, slope = memory.direction()
    for _ in range(max_iter):
        if np.abs(gradient).max() <= gradient_tolerance:
            break
        length, before = 1.0, value
        for _ in range(_HALVINGS):
            step = np.float32(length) * direction
            value, after = objective(point + step)
            if value <= before + _SUFFICIENT * length * slope:
                break
            # The least of the parabola through both values and the slope, within bounds.
            least = -slope * length**2 / (2 * (value - before - slope * length))
            length = min(max(least, 0.1 * length), 0.5 * length)
        else:
            break  # no step that float32 can tell gains anything
        point += step
        gradient, change = after, after - gradient
        if tell:
            tell(value, gradient)
        if before - value <= value_tolerance * max(abs(before), abs(value), 1.0):
            break
        memory.remember(step, change, gradient)
        direction, slope = memory.direction()
    return point


class _Memory:
    """The steps, the changes of the gradient by them, the gradient, and products of all of these.

    A class because it owns a matrix that is written in place, a row at a time.
    """

    def __init__(self, gradient: Vector) -> None:
        import numpy as np

        self._rows = np.zeros((2 * _MEMORY + 1, len(gradient)), np.float32)
        self._rows[-1] = gradient
        self._products = np.zeros((2 * _MEMORY + 1,) * 2)
        self._products[-1, -1] = gradient @ gradient
        self._steps, self._slots = 0, list[int]()

    def remember(self, step: Vector, change: Vector, gradient: Vector) -> None:
        """Take the place of the oldest step; one along which the gradient fell is of no use."""
        import numpy as np

        slot = self._steps % _MEMORY
        self._steps += 1
        written = [slot, slot + _MEMORY, 2 * _MEMORY]
        for row, vector in zip(written, (step, change, gradient), strict=True):
            self._rows[row] = vector
        products = np.zeros((len(self._rows), 3))
        for start in range(0, self._rows.shape[1], _BLOCK):
            block = self._rows[:, start : start + _BLOCK]
            products += block @ block[written].T
        self._products[:, written], self._products[written] = products, products.T
        self._slots = [each for each in self._slots if each != slot]
        if self._products[slot, slot + _MEMORY] > 0:
            self._slots.append(slot)

    def direction(self) -> tuple[Vector, float]:
        """The way to go, the inverse Hessian's estimate times the gradient, and the slope there."""
        import numpy as np

        products, shares = self._products, np.zeros(2 * _MEMORY + 1)
        shares[-1] = -1.0
        back = {}
        for slot in reversed(self._slots):
            curvature = products[slot, slot + _MEMORY]
            back[slot] = float(shares @ products[slot]) / curvature
            shares[slot + _MEMORY] -= back[slot]
        if self._slots:
            last = self._slots[-1]
            changed = products[last + _MEMORY, last + _MEMORY]
            shares *= products[last, last + _MEMORY] / changed
        else:
            shares /= max(1.0, products[-1, -1] ** 0.5)
        for slot in self._slots:
            forth = float(shares @ products[slot + _MEMORY]) / products[slot, slot + _MEMORY]
            shares[slot] += back[slot] - forth
        return shares.astype(np.float32) @ self._rows, float(shares @ products[-1])
