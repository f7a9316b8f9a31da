"""The shares of an average are those of the least log loss."""

import numpy as np
import pytest

from ml_assets.training.evaluation import log_loss
from ml_assets.training.families.average import mean
from ml_assets.training.selection.shares import LEAST, fit_shares

LABELS = ("a", "b", "c")


def answered(count: int, rows: int = 3000) -> tuple[np.ndarray, list[np.ndarray]]:
    """Answers of several, each of which knows the truth on rows of its own, and what came."""
    generator = np.random.default_rng(0)
    right = generator.integers(0, len(LABELS), rows)
    knows = generator.choice(count, rows, p=np.arange(1, count + 1) / sum(range(1, count + 1)))
    answers = []
    for member in range(count):
        sure = np.full((rows, len(LABELS)), 0.05)
        told = np.where(knows == member, right, generator.integers(0, len(LABELS), rows))
        sure[np.arange(rows), told] = 0.9
        answers.append(sure)
    return np.array(LABELS, dtype=object)[right], answers


def test_no_other_shares_have_a_smaller_loss() -> None:
    truth, answers = answered(3)
    shares = fit_shares(LABELS, truth, answers)
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares)
    least = log_loss(LABELS, truth, mean(answers, shares))
    for moved in ([0.02, -0.02, 0], [0, 0.02, -0.02], [-0.02, 0, 0.02], [0, -0.02, 0.02]):
        assert log_loss(LABELS, truth, mean(answers, np.add(shares, moved).tolist())) > least


def test_who_knows_nothing_is_left_out_and_two_stay() -> None:
    truth, answers = answered(2)
    nothing = np.full((len(truth), len(LABELS)), 0.01)
    shares = fit_shares(LABELS, truth, [answers[0], nothing, answers[1]])
    assert shares[1] == 0
    assert [shares[0], shares[2]] == pytest.approx(fit_shares(LABELS, truth, answers))
    two = fit_shares(LABELS, truth, [answers[1], nothing])
    assert 0 < two[1] < LEAST < two[0]


def test_what_nobody_thought_possible_has_a_loss() -> None:
    truth = np.array(["a", "b", "c"], dtype=object)
    impossible = np.array([[0.0, 1.0, 0.0]] * 3)
    assert fit_shares(LABELS, truth, [impossible, impossible]) == pytest.approx([0.5, 0.5])
