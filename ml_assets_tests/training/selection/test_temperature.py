"""A temperature makes a model as sure as it is right."""

import numpy as np
import pytest

from ml_assets.training.evaluation import evaluate
from ml_assets.training.selection.temperature import cool, fit_temperature

LABELS = ("a", "b", "c")


def drawn(rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Answers whose probabilities are true, and what came."""
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet((0.5, 0.5, 0.5), rows).astype(np.float32)
    rights = [generator.choice(LABELS, p=row / row.sum()) for row in probabilities.astype(float)]
    return probabilities, np.array(rights, dtype=object)


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 3.0])
def test_what_was_sharpened_is_found_again(sharpened: float) -> None:
    probabilities, truth = drawn()
    given = cool(probabilities, sharpened).astype(np.float32)
    assert fit_temperature(LABELS, truth, given) == pytest.approx(1 / sharpened, rel=0.08)


def test_it_lowers_the_calibration_error_and_keeps_the_answers() -> None:
    probabilities, truth = drawn()
    sure = cool(probabilities, 0.4)
    cooled = cool(sure, fit_temperature(LABELS, truth, sure.astype(np.float32)))
    before, after = (evaluate(LABELS, truth, each).metrics for each in (sure, cooled))
    assert after["accuracy"] == before["accuracy"]
    assert after["calibration_error"] < before["calibration_error"] / 3


def test_what_has_no_probability_gets_none() -> None:
    given = cool(np.array([[0.0, 0.2, 0.8]], dtype=np.float32), 2.0)
    assert given == pytest.approx(np.array([[0, 1 / 3, 2 / 3]]), abs=1e-6)
