"""How good models are on your own files: `python -m bench.training TRAIN.parquet [TEST.parquet]`.

Files have the columns `text` and `label`. Every family learns as it does in a run: folds, setting,
temperature. Without a test file a fifth of the texts tests, by their hash and a seed; `--splits 9`
does so nine times, and shows the means. `chosen` is the one that a run would serve. `noise` is the
calibration error that perfectly calibrated answers exceed in one case of twenty. Seconds are those
of a processor, without embedding; `--vectors FILE.npy` keeps the vectors.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ml_assets.documents.normalize import normalize
from ml_assets.embeddings.encoder import load_encoder
from ml_assets.embeddings.quantization import unit
from ml_assets.features.neighbours import UNKNOWN, nearest_others
from ml_assets.features.text import text_features
from ml_assets.registry.noise import calibration_noise
from ml_assets.settings import load_settings
from ml_assets.training.evaluation import evaluate
from ml_assets.training.examples import model_inputs
from ml_assets.training.families.base import Task, predict_probabilities
from ml_assets.training.families.registry import FAMILIES
from ml_assets.training.model import Candidate, Examples
from ml_assets.training.selection.choice import choose, resampled_macro_f1
from ml_assets.training.selection.folds import assign_folds, fold_count
from ml_assets.training.selection.learning import Learned, build, learn

SHARE = 0.2
"""Of the texts, which test."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.training")
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path, nargs="?")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--vectors", type=Path)
    asked = parser.parse_args()
    frames = [pd.read_parquet(file) for file in (asked.train, asked.test) if file]
    whole = read_task(pd.concat(frames, ignore_index=True), asked.vectors)
    ids = whole.examples.document_ids
    measured: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in range(asked.splits):
        in_test = [place(name, seed) < SHARE for name in ids]
        given = np.arange(len(ids)) >= len(frames[0])
        for name, metrics in measure(whole, given if asked.test else np.array(in_test), seed):
            measured[name].append(metrics)
    columns = [*measured["chosen"][0]]
    table = Table("family", *columns, title=f"{asked.train}, splits: {asked.splits}")
    for name, each in measured.items():
        table.add_row(name, *(f"{np.mean([row[key] for row in each]):.4f}" for key in columns))
    Console().print(table)


def read_task(frame: pd.DataFrame, kept: Path | None) -> Task:
    """Texts with vectors and features as documents have them; equal texts have one id."""
    texts = [normalize(text) for text in frame["text"]]
    if kept and kept.exists():
        vectors = np.load(kept)
    else:
        vectors = unit(load_encoder(load_settings()).encode(texts))
        if kept:
            np.save(kept, vectors)
    nearest, distances = np.full(len(texts), UNKNOWN, np.intp), np.full(len(texts), np.nan)
    nearest_others(vectors.copy(), nearest, distances)
    features = pd.DataFrame([text_features(text) for text in texts]).astype("float64")
    features["nearest_distance"] = distances
    columns = {f"document_text__{name}": values.to_numpy() for name, values in features.items()}
    ids = tuple(sha256(text.encode()).hexdigest() for text in texts)
    truth = frame["label"].astype(str).to_numpy(dtype=object)
    examples = Examples(model_inputs(texts, columns, vectors), truth, ids)
    return Task(examples, tuple(columns), tuple(sorted(set(truth))), 0)


def measure(
    whole: Task, tested: NDArray[np.bool_], seed: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """Name and metrics on test of each family that can be fitted, and of the one chosen."""
    task = Task(whole.examples.part(~tested), whole.features, whole.labels, seed)
    test, ids = whole.examples.part(tested), task.examples.document_ids
    folds = assign_folds(ids, task.examples.truth.tolist(), seed, fold_count(len(ids)))
    answers: dict[str, NDArray[np.float32]] = {}
    models: dict[str, Any] = {}
    rows: dict[str, dict[str, float]] = {}
    candidates = []
    for family in FAMILIES:
        began = time.process_time()
        learned = learn(family, task, folds, answers)
        models[family.name] = build(
            family, task, learned.chosen, lambda members: [models[each.name] for each in members]
        )
        seconds = time.process_time() - began
        answers[family.name] = learned.probabilities
        given = predict_probabilities(models[family.name], test.inputs, task.labels)
        noise = calibration_noise(given.max(axis=1), seed)
        metrics = evaluate(task.labels, test.truth, given).metrics
        rows[family.name] = {**metrics, "noise": noise, "seconds": seconds}
        candidates.append(as_candidate(family.name, task, learned, seconds))
    chosen = choose(candidates)
    if chosen:
        rows["chosen"] = {
            **rows[chosen.family],
            "seconds": sum(row["seconds"] for row in rows.values()),
        }
    yield from rows.items()


def as_candidate(family: str, task: Task, learned: Learned, seconds: float) -> Candidate:
    """What the choice looks at, of answers out of fold."""
    truth = task.examples.truth
    metrics = evaluate(task.labels, truth, learned.probabilities).metrics
    named = {f"validation_{name}": value for name, value in metrics.items()} | {"seconds": seconds}
    draws = resampled_macro_f1(task.labels, truth, learned.probabilities, task.seed)
    return Candidate("", "", family, "", learned.chosen, named, "", resampled=draws)


def place(name: str, seed: int) -> float:
    """Where a text stands between 0 and 1, by its hash and a seed."""
    return int.from_bytes(sha256(f"{seed}:{name}".encode()).digest()[:8]) / 2**64


if __name__ == "__main__":
    main()
