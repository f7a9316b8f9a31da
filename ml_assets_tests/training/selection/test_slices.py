"""Slices: each document in one part of each key."""

import numpy as np
import pytest

from ml_assets.training.selection.slices import slices, thirds

LABELS = ("a", "b", "c")


def test_thirds_are_by_rank() -> None:
    assert thirds([5, 1, 9]) == ["middle", "least", "most"]
    assert thirds([7] * 4) == ["most"] * 4
    counts = [thirds(list(range(90))).count(name) for name in ("least", "middle", "most")]
    assert counts == [30, 30, 30]


def test_each_slice_is_measured_over_the_labels_that_it_has() -> None:
    truth = np.array(["a", "a", "b", "c"], dtype=object)
    answers = np.eye(3)[[0, 1, 1, 2]]
    parts = [*slices(LABELS, truth, answers, {"by": np.array([*"xxxy"], dtype=object)})]
    assert [(part["by"], part["value"], part["documents"]) for part in parts] == [
        ("by", "x", 3),
        ("by", "y", 1),
    ]
    assert parts[0]["accuracy"] == pytest.approx(2 / 3)
    assert parts[0]["macro_f1"] == pytest.approx(2 / 3)
    assert (parts[1]["accuracy"], parts[1]["macro_f1"]) == (1, 1)
