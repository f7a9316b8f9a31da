"""How often a champion changes by chance, and for a better model: `python -m bench.promotion FILE`.

The file is one of `bench.training`. Its texts are split at random `--tries` times: a champion and a
challenger learn from as many rows each, and the gate is asked on `--documents` that neither has
seen. A champion that is `worse` answers a share of them as a model that learned from few rows: as
large a share as makes its macro-F1 lower by `--by`, in the mean over the tries. `--vectors
FILE.npy` keeps the vectors.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.training import read_task
from ml_assets.registry.gates import Answers, Comparison, challenger_beats_the_champion
from ml_assets.registry.noise import macro_f1
from ml_assets.training.evaluation import positions
from ml_assets.training.families.base import Task, fit_family, predict_probabilities
from ml_assets.training.families.linear import LOGISTIC_REGRESSION

OUTCOMES = ("pass", "cannot tell", "block")
FEW = 0.02
"""Of the rows, what a poor model learns from."""


@dataclass(frozen=True, eq=False)
class Try:
    """The right answers to n documents and those of three models: numbers of labels, (n,)."""

    labels: tuple[str, ...]
    truth: NDArray[np.intp]
    challenger: NDArray[np.intp]
    champion: NDArray[np.intp]
    poor: NDArray[np.intp]

    def loss(self) -> float:
        """By how much the champion is worse in macro-F1."""
        return macro_f1(self.truth, self.challenger) - macro_f1(self.truth, self.champion)

    def worse(self, share: float, seed: int) -> Try:
        """The same, but that the champion answers a share of the documents as the poor model."""
        poorly = np.random.default_rng(seed).random(len(self.truth)) < share
        return replace(self, champion=np.where(poorly, self.poor, self.champion))

    def outcome(self) -> str:
        """What the gate says."""
        given = [Answers(each, np.ones(len(each))) for each in (self.challenger, self.champion)]
        groups = np.arange(len(self.truth))
        compared = Comparison(self.labels, self.truth, groups, given[0], {}, given[1])
        return challenger_beats_the_champion(compared).outcome


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.promotion")
    parser.add_argument("file", type=Path)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--by", type=float, default=0.05)
    parser.add_argument("--vectors", type=Path)
    asked = parser.parse_args()
    whole = read_task(pd.read_parquet(asked.file), asked.vectors)
    equal = [attempt(whole, seed, asked.documents) for seed in range(asked.tries)]
    table = Table("champion", "loss of macro-F1", *OUTCOMES)
    for champion, tries in {"equal": equal, "worse": worsened(equal, asked.by)}.items():
        outcomes = Counter(each.outcome() for each in tries)
        loss = np.mean([each.loss() for each in tries])
        table.add_row(champion, f"{loss:.4f}", *(str(outcomes[name]) for name in OUTCOMES))
    Console().print(table)


def attempt(whole: Task, seed: int, documents: int) -> Try:
    """Split the texts at random, equal ones together; fit three models, and have them answer."""
    _, text = np.unique(np.array(whole.examples.document_ids), return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(text))[text]
    order = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[order], place[order[[documents, (documents + len(order)) // 2]]])
    test, first, second = np.split(order, bounds)
    tested = whole.examples.part(_mask(test, len(order)))
    few = first[: max(50, int(FEW * len(order)))]

    def answers(rows: NDArray[np.intp]) -> NDArray[np.intp]:
        model = fit_family(LOGISTIC_REGRESSION, whole.part(_mask(rows, len(order))), {"C": 0.03})
        given = predict_probabilities(model, tested.inputs, whole.labels)
        return np.asarray(given.argmax(axis=1), np.intp)

    truth = positions(whole.labels, tested.truth)
    return Try(whole.labels, truth, *map(answers, (first, second, few)))


def worsened(tries: list[Try], by: float) -> list[Try]:
    """The tries with champions that are worse by so much in the mean.

    Raises:
        SystemExit: the poor models are not so much worse.
    """
    low, high = 0.0, 1.0

    def mixed(share: float) -> list[Try]:
        return [each.worse(share, seed) for seed, each in enumerate(tries)]

    if np.mean([each.loss() for each in mixed(high)]) < by:
        raise SystemExit(f"models of {FEW:.0%} of the rows are not worse by {by:g}")
    while high - low > 1e-3:
        middle = (low + high) / 2
        enough = np.mean([each.loss() for each in mixed(middle)]) >= by
        low, high = (low, middle) if enough else (middle, high)
    return mixed(high)


def _mask(rows: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, dtype=bool)
    mask[rows] = True
    return mask


if __name__ == "__main__":
    main()
