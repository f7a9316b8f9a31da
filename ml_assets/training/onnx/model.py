"""A model that answers from its ONNX form, and what the graph leaves to numpy."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ml_assets.training.families.titles import title_terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "model.onnx"
"""Its name beside the model in MLflow."""

PREPARATION = "ml_assets.preparation"
"""The key in the graph's metadata of what stands before it, as JSON: labels, terms, quantiles.

It lies in the artifacts of earlier versions: a new field needs a default, none is renamed.
"""

_BATCH = 64  # a text with 20,000 terms takes 80 kB


@dataclass(frozen=True)
class Terms:
    """The vocabulary of a `TfidfVectorizer` in its order, and how it cuts texts into terms.

    Without a `pattern` they are those of titles.
    """

    words: list[str]
    pattern: str = ""
    shortest: int = 1
    longest: int = 1

    def weigh(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """1 + ln(count) of each term, shape (len(texts), len(words)); 0 for one that is absent."""
        import numpy as np

        weights = np.zeros((len(texts), len(self.words)), dtype=np.float32)
        for row, text in zip(weights, texts, strict=True):
            counts = Counter(self._positions[term] for term in self._cut(text))
            row[list(counts)] = 1 + np.log(np.array(list(counts.values()), dtype=np.float32))
        return weights

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {word: position for position, word in enumerate(self.words)}

    def _cut(self, text: str) -> Iterator[str]:
        """The known terms of a text: its words, and runs of neighbouring words; or its title's."""
        if not self.pattern:
            yield from (term for term in title_terms(text) if term in self._positions)
            return
        words = re.findall(self.pattern, text.lower())
        for length in range(self.shortest, self.longest + 1):
            for start in range(len(words) - length + 1):
                term = " ".join(words[start : start + length])
                if term in self._positions:
                    yield term


@dataclass(frozen=True)
class Quantiles:
    """Of each feature its median, and its values at `references`, the quantiles from 0 to 1."""

    features: list[str]
    medians: list[float]
    values: list[list[float]]
    references: list[float]

    def place(self, features: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float32]:
        """The quantile of each feature, a column each; NaN is taken for the median.

        A value that fills several quantiles has the middle one, as in `QuantileTransformer`.
        """
        import numpy as np

        references, tables = self._arrays
        columns = np.column_stack([features[name] for name in self.features])
        placed = np.where(np.isnan(columns), self.medians, columns)
        for column, values in zip(placed.T, tables, strict=True):
            first, last = column == values[0], column == values[-1]
            above = np.interp(column, values, references)
            below = -np.interp(-column, -values[::-1], -references[::-1])
            column[:] = np.where(first, 0.0, np.where(last, 1.0, (above + below) / 2))
        return placed.astype(np.float32)

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        import numpy as np

        return np.array(self.references), [np.array(values) for values in self.values]


def refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises of a graph that it does not take; they have no base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    return (*(getattr(runtime, name) for name in names), runtime.RuntimeException)


class OnnxModel:
    """The graph and what stands before it, from the bytes that `export` gave.

    `labels` are in the order of the probabilities.
    """

    def __init__(self, content: bytes) -> None:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self._session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._inputs = {node.name for node in self._session.get_inputs()}
        parts = json.loads(self._session.get_modelmeta().custom_metadata_map[PREPARATION])
        self.labels: list[str] = parts["labels"]
        kinds = {"text": parts["terms"], "title": parts.get("titles")}
        self._terms = {name: Terms(**terms) for name, terms in kinds.items() if terms}
        self._quantiles = Quantiles(**parts["quantiles"]) if parts["quantiles"] else None

    def predict_proba(
        self,
        texts: Sequence[str],
        features: Mapping[str, NDArray[np.float64]],
        vectors: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """The probabilities, shape (len(texts), len(labels)).

        `features` has a value per text, NaN where it is not known; `vectors` are of unit length,
        a row per text.
        """
        import numpy as np

        answers = []
        for start in range(0, len(texts), _BATCH):
            batch = slice(start, start + _BATCH)
            fed = {"vector": vectors[batch]}
            if self._quantiles:
                part = {name: values[batch] for name, values in features.items()}
                fed["features"] = self._quantiles.place(part)
            for name, terms in self._terms.items():
                fed[name] = terms.weigh(texts[batch])
            answers += self._session.run(
                ["probabilities"], {name: fed[name] for name in self._inputs}
            )
        return np.concatenate(answers)
