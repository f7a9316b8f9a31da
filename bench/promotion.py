"""How often a champion changes by chance, and for a better model: `python -m bench.promotion FILE`.

The file is one of `bench.training`. Its texts are split at random `--tries` times: a champion and a
challenger learn from as many rows each, and the gate is asked on `--documents` that neither has
seen. A champion that is `worse` answers a share of them as a model that learned from few rows: as
large a share as makes its macro-F1 lower by `--by`, in the mean over the tries. A challenger that
learned `less` did so from 70 % of its rows; the answers of one that knows `nothing` are its own,
dealt out at random. `--vectors FILE.npy` keeps the vectors.
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
FEW, LESS = 0.02, 0.7
"""Of the rows, what a poor model learns from; of a challenger's rows, what one of less does."""


@dataclass(frozen=True, eq=False)
class Try:
    """The right answers to n documents, numbers of labels, (n,), and those of four models."""

    labels: tuple[str, ...]
    truth: NDArray[np.intp]
    challenger: Answers
    champion: Answers
    poor: Answers
    less: Answers

    def loss(self) -> float:
        """By how much the champion is worse in macro-F1."""
        both = (self.challenger, self.champion)
        first, second = (macro_f1(self.truth, each.given) for each in both)
        return first - second

    def worse(self, share: float, seed: int) -> Try:
        """The same, but that the champion answers a share of the documents as the poor model."""
        poorly = np.random.default_rng(seed).random(len(self.truth)) < share
        poor, own = self.poor, self.champion
        given = np.where(poorly, poor.given, own.given)
        confidence = np.where(poorly, poor.confidence, own.confidence)
        return replace(self, champion=Answers(given, confidence))

    def dealt(self, seed: int) -> Try:
        """The same, but that the challenger's answers go with no document."""
        order, own = np.random.default_rng(seed).permutation(len(self.truth)), self.challenger
        return replace(self, challenger=Answers(own.given[order], own.confidence[order]))

    def outcome(self) -> str:
        """What the gate says."""
        groups = np.arange(len(self.truth))
        compared = Comparison(self.labels, self.truth, groups, self.challenger, {}, self.champion)
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
    cases = {
        "equal champion": equal,
        "worse champion": worsened(equal, asked.by),
        "challenger learned less": [replace(each, challenger=each.less) for each in equal],
        "challenger knows nothing": [each.dealt(seed) for seed, each in enumerate(equal)],
    }
    table = Table("", "champion's loss of macro-F1", *OUTCOMES)
    for name, tries in cases.items():
        outcomes = Counter(each.outcome() for each in tries)
        loss = np.mean([each.loss() for each in tries])
        table.add_row(name, f"{loss:.4f}", *(str(outcomes[each]) for each in OUTCOMES))
    Console().print(table)


def attempt(whole: Task, seed: int, documents: int) -> Try:
    """Split the texts at random, equal ones together; fit four models, and have them answer."""
    _, text = np.unique(np.array(whole.examples.document_ids), return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(text))[text]
    order = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[order], place[order[[documents, (documents + len(order)) // 2]]])
    test, first, second = np.split(order, bounds)
    tested = whole.examples.part(_mask(test, len(order)))
    few, less = first[: max(50, int(FEW * len(order)))], first[: int(LESS * len(first))]

    def answers(rows: NDArray[np.intp]) -> Answers:
        model = fit_family(LOGISTIC_REGRESSION, whole.part(_mask(rows, len(order))), {"C": 0.03})
        given = predict_probabilities(model, tested.inputs, whole.labels)
        return Answers(np.asarray(given.argmax(axis=1), np.intp), given.max(axis=1))

    truth = positions(whole.labels, tested.truth)
    return Try(whole.labels, truth, *map(answers, (first, second, few, less)))


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
