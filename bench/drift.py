"""How often drift is found where there is none, and where one was planted.

`make bench-drift DOCUMENTS=documents.parquet VECTORS=vectors.npy` splits documents at random into a
reference and what came, many times, as they are and with each planted shift. The file has columns
text, label and a category; the vectors, one line for each, are made by the project's own encoder if
the file is not there.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_assets.features.drift.comparison import Comparison, Sample, compare
from ml_assets.features.drift.summary import summarize_categories, summarize_numbers
from ml_assets.features.text import text_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

REFERENCE, CURRENT = 5_000, 500
"""Documents of a trial."""


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents as arrays of one length: numbers and categories by name, vectors, text numbers."""

    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, NDArray[np.object_]]
    vectors: NDArray[np.float32]
    texts: NDArray[np.intp]

    def part(self, rows: NDArray[np.intp]) -> Documents:
        """Those of these rows."""
        return Documents(
            {name: values[rows] for name, values in self.numbers.items()},
            {name: values[rows] for name, values in self.categories.items()},
            self.vectors[rows],
            self.texts[rows],
        )

    def sample(self) -> Sample:
        """As drift looks at them."""
        numbers = {name: summarize_numbers(values) for name, values in self.numbers.items()}
        names = {name: summarize_categories(values) for name, values in self.categories.items()}
        groups = Counter(Counter(self.texts.tolist()).values())
        vectors = self.vectors[:1_000]
        return Sample(len(self.texts), {**numbers, **names}, vectors, groups)


Plant = Callable[[Documents, np.random.Generator], Documents]
NUMBER, CATEGORY = "characters", "category"


def _numbers(documents: Documents, values: NDArray[np.float64]) -> Documents:
    return replace(documents, numbers={**documents.numbers, NUMBER: values})


def _named(documents: Documents, name: str, values: NDArray[np.object_]) -> Documents:
    return replace(documents, categories={**documents.categories, name: values})


def mean(documents: Documents, _: np.random.Generator) -> Documents:
    values = documents.numbers[NUMBER]
    return _numbers(documents, values + 0.4 * values.std())


def variance(documents: Documents, _: np.random.Generator) -> Documents:
    values = documents.numbers[NUMBER]
    return _numbers(documents, values.mean() + (values - values.mean()) * 1.5)


def missing(documents: Documents, generator: np.random.Generator) -> Documents:
    values = documents.numbers[NUMBER].copy()
    values[generator.random(len(values)) < 0.1] = np.nan
    return _numbers(documents, values)


def category(documents: Documents, generator: np.random.Generator) -> Documents:
    values = documents.categories[CATEGORY].copy()
    (first, _), (second, _) = Counter(values).most_common(2)
    values[(values == first) & (generator.random(len(values)) < 0.6)] = second
    return _named(documents, CATEGORY, values)


def new_category(documents: Documents, generator: np.random.Generator) -> Documents:
    values = documents.categories[CATEGORY].copy()
    values[generator.random(len(values)) < 0.05] = "never seen"
    return _named(documents, CATEGORY, values)


def rotated(documents: Documents, generator: np.random.Generator) -> Documents:
    turn, _ = np.linalg.qr(generator.normal(size=(documents.vectors.shape[1],) * 2))
    return replace(documents, vectors=(documents.vectors @ turn).astype(np.float32))


def label_prior(documents: Documents, generator: np.random.Generator) -> Documents:
    """A third of the commonest label is replaced by documents of the others."""
    labels = documents.categories["label"]
    (first, _), *_ = Counter(labels).most_common()
    own, others = np.flatnonzero(labels == first), np.flatnonzero(labels != first)
    rows = np.arange(len(labels))
    left = generator.choice(own, len(own) // 3, replace=False)
    rows[left] = generator.choice(others, len(left))
    # Only the labels move: what follows from them in the features is another shift.
    return _named(documents, "label", labels[rows])


def duplicated(documents: Documents, generator: np.random.Generator) -> Documents:
    rows = np.arange(len(documents.texts))
    chosen = generator.permutation(len(rows))
    part = len(rows) // 10
    rows[chosen[:part]] = chosen[part : 2 * part]
    return documents.part(rows)


SHIFTS: Mapping[str, tuple[Plant, str, str, str]] = {
    "mean": (mean, NUMBER, "distribution", "+0.4 standard deviations"),
    "variance": (variance, NUMBER, "distribution", "1.5 times the deviation"),
    "missing": (missing, NUMBER, "missing", "10 % of the values"),
    "category": (category, CATEGORY, "distribution", "60 % of the commonest becomes the second"),
    "new category": (new_category, CATEGORY, "distribution", "5 % of the rows"),
    "rotated embeddings": (rotated, "embedding", "domain", "a random rotation"),
    "label prior": (label_prior, "label", "distribution", "a third of the commonest replaced"),
    "duplicated rows": (duplicated, "rows", "repeated", "10 % of the rows repeat another"),
}
"""What is planted, the feature and the aspect in which it is to be found, and how large it is."""


def trials(
    documents: Documents, count: int, sizes: tuple[int, int], seed: int = 0
) -> Iterator[tuple[str, Comparison]]:
    """Split at random `count` times; yield each comparison with what was planted ("" is nothing).

    Vectors are compared as they are, and rotated; in the other trials they are left out, as they
    would be the same again.
    """
    for number in range(count):
        generator = np.random.default_rng((seed, number))
        rows = generator.permutation(len(documents.texts))[: sum(sizes)]
        reference, current = documents.part(rows[: sizes[0]]), documents.part(rows[sizes[0] :])
        before = reference.sample()
        yield "", compare(before, current.sample(), number)
        for name, (plant, feature, *_) in SHIFTS.items():
            after = plant(current, generator).sample()
            vectors = after.vectors if feature == "embedding" else None
            yield name, compare(before, replace(after, vectors=vectors), number)


def measured(documents: Documents, count: int, sizes: tuple[int, int]) -> dict[str, Any]:
    """The share of trials with any drift where nothing was planted, and where each shift was found.

    `elsewhere`: the share of trials of a shift in which something else drifted too.
    """
    alarms, named = 0, Counter[str]()
    seen, elsewhere = Counter[str](), Counter[str]()
    for name, compared in trials(documents, count, sizes):
        drifted = {(each.feature, each.aspect) for each in compared.drifted}
        if not name:
            alarms += bool(drifted)
            named.update(f"{feature} {aspect}" for feature, aspect in drifted)
            continue
        _, feature, aspect, _ = SHIFTS[name]
        seen[name] += (feature, aspect) in drifted
        elsewhere[name] += bool({each for each in drifted if each != (feature, aspect)})
    return {
        "trials": count,
        "reference": sizes[0],
        "current": sizes[1],
        "false_alarms": alarms / count,
        "named": dict(named),
        "found": {name: seen[name] / count for name in SHIFTS},
        "elsewhere": {name: elsewhere[name] / count for name in SHIFTS},
    }


def read_documents(file: Path, vectors: Path, category: str) -> Documents:
    """Read a Parquet file of documents; vectors are encoded, and kept, if they are not there."""
    import pandas as pd

    frame = pd.read_parquet(file)
    texts = frame["text"].astype(str).tolist()
    if not vectors.exists():
        from ml_assets.embeddings.encoder import load_encoder
        from ml_assets.settings import load_settings

        np.save(vectors, load_encoder(load_settings(), 32 * len(texts)).encode(texts))
    described = [text_features(text) for text in texts]
    return Documents(
        {name: np.array([each[name] for each in described], np.float64) for name in described[0]},
        {
            "label": frame["label"].to_numpy(object),
            CATEGORY: frame[category].to_numpy(object),
        },
        np.load(vectors),
        pd.factorize(frame["text"])[0],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", type=Path)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--category", default="airline")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--sizes", type=int, nargs=2, default=(REFERENCE, CURRENT))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    documents = read_documents(asked.documents, asked.vectors, asked.category)
    result = measured(documents, asked.trials, tuple(asked.sizes))
    print(f"{asked.sizes[0]} documents against {asked.sizes[1]}, {asked.trials} random splits\n")
    print(f"{'planted':20} {'size':42} {'found':>6}  something else")
    print(f"{'nothing':20} {'':42} {result['false_alarms']:6.0%}  {result['named'] or ''}")
    for name, (*_, size) in SHIFTS.items():
        print(f"{name:20} {size:42} {result['found'][name]:6.0%}  {result['elsewhere'][name]:.0%}")
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
