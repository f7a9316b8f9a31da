"""What is told of some answers stays what it is until the version is raised."""

from dataclasses import asdict

import numpy as np

from ml_assets.training.labels import review
from ml_assets.training.labels.issues import (
    ambiguous_pairs,
    conflicting_duplicates,
    unlikely_labels,
)
from ml_assets_tests import golden

LABELS = ("bread", "music", "space")


def test_labels_that_are_told() -> None:
    truth = [LABELS[number % 3] for number in range(60)]
    sure = np.array([0.5 + (number % 7) * 0.06 for number in range(60)])
    answers = np.repeat((1 - sure)[:, None] / 2, 3, axis=1)
    given = [number % 3 if number % 11 else (number + 1) % 3 for number in range(60)]
    answers[range(60), given] = sure
    ids = [f"d{number}" for number in range(60)]
    words = [number // 2 if number < 4 else number for number in range(60)]
    output = {
        "unlikely": [asdict(each) for each in unlikely_labels(ids, truth, answers, LABELS)],
        "ambiguous": [asdict(each) for each in ambiguous_pairs(truth, answers, LABELS)],
        "conflicting": [
            asdict(each)
            for each in conflicting_duplicates(ids, truth, words, {"d9": ("d10", 0.001)})
        ],
    }
    assert all(output.values())
    constant = "ml_assets.training.labels.review.VERSION"
    golden.check(constant, review.VERSION, output, tolerance=1e-6)
