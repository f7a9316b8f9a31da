"""The solver of the regressions."""

from collections.abc import Callable

import numpy as np
import pytest

from ml_assets.training.families.lbfgs import minimise

Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]
STRETCH = np.geomspace(1, 300, 40).astype(np.float32)
LEAST = np.linspace(-2, 2, 40).astype(np.float32)
FAR = np.full(40, 5, np.float32)


def bowl(point: np.ndarray) -> tuple[float, np.ndarray]:
    """A square that is 300 times steeper along one variable than along another."""
    away = point - LEAST
    return float((STRETCH * away**2).sum() / 2), STRETCH * away


def hinge(point: np.ndarray) -> tuple[float, np.ndarray]:
    """ln cosh of ten times the way: steep far off and flat nearby, so that full steps overshoot."""
    away = (10 * (point - LEAST)).astype(np.float64)
    return float((np.logaddexp(away, -away) - np.log(2)).sum()), 10 * np.tanh(away).astype(
        "float32"
    )


@pytest.mark.parametrize("objective", [bowl, hinge])
def test_the_least_value_is_found_in_few_steps(objective: Objective) -> None:
    values: list[float] = []
    found = minimise(objective, FAR, 1e-4, 0.0, 200, lambda value, gradient: values.append(value))
    assert found.dtype == np.float32
    assert found == pytest.approx(LEAST, abs=1e-3)
    assert len(values) < 150
    assert values == sorted(values, reverse=True)


def test_a_point_in_parts_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def values() -> list[float]:
        told: list[float] = []
        minimise(bowl, FAR, 1e-4, 0.0, 20, lambda value, gradient: told.append(value))
        return told

    whole = values()
    monkeypatch.setattr("ml_assets.training.families.lbfgs._BLOCK", 7)
    assert values() == pytest.approx(whole, rel=1e-2)


def test_it_ends_where_a_step_gains_little_and_after_so_many() -> None:
    def steps(*limits: float, most: int = 200) -> int:
        told: list[float] = []
        minimise(bowl, FAR, *limits, most, lambda value, gradient: told.append(value))
        return len(told)

    assert steps(1e-4, 0.0, most=7) == 7
    assert 7 < steps(1.0, 0.0) < steps(1e-4, 0.0)
    assert steps(1e-4, 1e9) == 1
    assert steps(1e9, 0.0) == 0


def test_value_and_gradient_of_each_step_are_told() -> None:
    told: list[tuple[float, np.ndarray]] = []
    point = minimise(bowl, FAR, 1e-4, 0.0, 3, lambda *step: told.append(step))
    value, gradient = bowl(point)
    assert told[-1][0] == value
    assert (told[-1][1] == gradient).all()


def test_nothing_to_gain_ends_it() -> None:
    """A value that no step lowers, as where float32 tells no difference any more."""
    start = np.ones(3, np.float32)
    found = minimise(lambda point: (0.0, np.ones(3, np.float32)), start, 1e-4, -1.0, 50)
    assert (found == start).all()
