"""A task made by hand: no database, no encoder."""

import numpy as np
import pandas as pd

from ml_assets.training.families.base import Task
from ml_assets.training.model import Examples
from ml_assets.training.selection.folds import assign_folds

LABELS = ("cooking", "music", "sport")
FEATURES = ("characters", "words")
DIMENSION = 24


def examples(rows: int, seed: int, noise: float) -> Examples:
    """Labels that words and vector hint at, the vector less the more `noise`."""
    generator = np.random.default_rng(seed)
    which = generator.integers(0, len(LABELS), rows)
    vectors = noise * generator.normal(size=(rows, DIMENSION))
    vectors[np.arange(rows), which] += 1.0
    words = generator.integers(0, 60, (rows, 6)) * len(LABELS) + which[:, None]
    words[:, :3] = generator.integers(0, 180, (rows, 3))
    columns = {
        "text": [" ".join(f"w{word}" for word in line) for line in words],
        FEATURES[0]: generator.integers(10, 100, rows) + 20.0 * which,
        FEATURES[1]: np.where(generator.random(rows) < 0.1, np.nan, generator.random(rows)),
        **{f"e{i}": vectors[:, i].astype(np.float32) for i in range(DIMENSION)},
    }
    truth = np.array(LABELS, dtype=object)[which]
    return Examples(pd.DataFrame(columns), truth, tuple(f"{seed}-{row}" for row in range(rows)))


def made_task(noise: float = 0.5) -> Task:
    """Two hundred examples to learn from."""
    return Task(examples(200, 1, noise), FEATURES, LABELS, seed=0)


def made_folds(task: Task, count: int = 4) -> np.ndarray:
    """Every document is a group of its own."""
    examples = task.examples
    return assign_folds(examples.document_ids, examples.truth.tolist(), task.seed, count)
