"""What a family reads: the columns of the examples, prepared by scikit-learn transformers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ml_assets.training.examples import TEXT
from ml_assets.training.families.base import Task
from ml_assets.training.families.titles import title_terms
from ml_assets.training.model import Examples

if TYPE_CHECKING:
    from pandas import DataFrame

DENSE, TERMS = ("features", "vector"), ("text", "title")
"""The parts of inputs, in their order: numbers, and words, which are sparse."""

TYPES = tuple(f"{__name__}.{name}" for name in ("Inputs", "Part"))
"""What a saved model holds of these."""

HIDDEN_TITLES = 0.25
"""Of the examples. Where all show their titles, little is learned of the texts, and a text without
one, as a person asks about, is answered badly."""

_TERMS = (1_000, 20_000)
"""Of a text, at least and at most."""
_WEIGHTS = 1_000_000
"""Terms times labels: the solver keeps a dozen vectors of that length."""

_TITLES = ("most titles that share a term",)

_kept: WeakKeyDictionary[Examples, dict[tuple[Any, ...], tuple[Any, Any]]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Part:
    """The columns of a part, what prepares them (None: nothing), and their weight."""

    name: str
    columns: Sequence[str]
    fitted: Any
    weight: float

    def prepare(self, inputs: DataFrame) -> Any:
        """A float32 matrix of a line per input, not yet weighted."""
        read = _read(inputs, self.name, self.columns)
        return read if self.fitted is None else self.fitted.transform(read).astype("float32")

    def __getstate__(self) -> dict[str, Any]:
        """What skops saves: the vocabulary as one text, not as a file of nodes for each word."""
        state = dict(self.__dict__)
        if self.name in TERMS:
            state["fitted"] = fitted = copy(self.fitted)
            fitted.vocabulary_ = "\n".join(sorted(fitted.vocabulary_, key=fitted.vocabulary_.get))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was saved; no term has a line end in it."""
        self.__dict__.update(state)
        if self.name in TERMS:
            words = self.fitted.vocabulary_.split("\n")
            self.fitted.vocabulary_ = {word: place for place, word in enumerate(words)}


class Inputs:
    """The parts that a family reads, fitted.

    Not scikit-learn's `ColumnTransformer`, since that would fit each part for each family anew. A
    class because MLflow and skops save an object.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)

    def transform(self, inputs: DataFrame) -> Any:
        """All parts side by side, float32: sparse where there are terms."""
        return self.joined([part.prepare(inputs) for part in self.parts])

    def joined(self, prepared: Sequence[Any]) -> Any:
        """What `transform` gives, of parts that are prepared."""
        from scipy.sparse import csr_array, hstack

        blocks = self.blocks(prepared)
        return blocks[0] if len(blocks) == 1 else hstack([*map(csr_array, blocks)], format="csr")

    def blocks(self, prepared: Sequence[Any]) -> list[Any]:
        """The weighted parts: those that are dense as one matrix, and those of terms as one."""
        import numpy as np
        from scipy.sparse import csr_array, hstack

        parts = {
            part.name: matrix * np.float32(part.weight)
            for part, matrix in zip(self.parts, prepared, strict=True)
        }
        dense, terms = ([parts[name] for name in kind if name in parts] for kind in (DENSE, TERMS))
        return [
            *([np.hstack(dense)] if dense else []),
            *([csr_array(hstack(terms, format="csr"))] if terms else []),
        ]


def prepare(task: Task, parameters: Mapping[str, Any]) -> tuple[Inputs, list[Any]]:
    """Prepare what the `weights` name; return how, and the blocks of `task`'s examples.

    The order is ours: JSON in PostgreSQL does not keep that of the weights. Where no term is in the
    titles of several, these are no part. A part is fitted once on the same examples, for whichever
    family.
    """
    weights = parameters["weights"]
    columns = {"features": task.features, "vector": task.vector}
    parts, prepared = [], []
    for name in (*DENSE, *TERMS):
        if name not in weights or (name == "title" and not _has_titles(task.examples, parameters)):
            continue
        fitted, matrix = _fitted(task, name, columns.get(name, [TEXT]), parameters)
        parts.append(Part(name, [*columns.get(name, [TEXT])], fitted, float(weights[name])))
        prepared.append(matrix)
    inputs = Inputs(parts)
    return inputs, inputs.blocks(prepared)


def _fitted(
    task: Task, name: str, columns: Sequence[str], parameters: Mapping[str, Any]
) -> tuple[Any, Any]:
    """The transformer of a part, and what it makes of the examples."""
    asked = "min_df" if name in TERMS else "scale_vector" if name == "vector" else ""
    key = (name, parameters.get(asked), task.features, task.seed, len(task.labels))
    kept = _kept.setdefault(task.examples, {})
    if key not in kept:
        read = _read(task.examples.inputs, name, columns)
        fitted = _transformer(task, name, parameters)
        matrix = read if fitted is None else fitted.fit_transform(read).astype("float32")
        kept[key] = fitted, _partly_hidden(matrix, task.seed) if name == "title" else matrix
    return kept[key]


def _partly_hidden(titles: Any, seed: int) -> Any:
    """The titles of all examples but a share, chosen at random: they are learned as bare texts.

    Out of fold they are answered so, too: what is chosen and calibrated by that is for both.
    """
    import numpy as np
    from scipy.sparse import diags_array

    shown = np.random.default_rng(seed).random(titles.shape[0]) >= HIDDEN_TITLES
    return (diags_array(shown.astype("float32")) @ titles).tocsr()


def _read(inputs: DataFrame, name: str, columns: Sequence[str]) -> Any:
    if name in TERMS:
        return inputs[columns[0]]
    return inputs[[*columns]].to_numpy("float32" if name == "vector" else "float64")


def _transformer(task: Task, name: str, parameters: Mapping[str, Any]) -> Any:
    """What prepares a part, to be fitted.

    Of features, the median fills in what is not known; then each is mapped to its quantile, and
    standardised. Quantiles are bounded: a length or distance never seen before cannot outweigh all
    else. Of a text, words and pairs of words are counted, the most frequent ones; fewer where each
    has many weights.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    if name == "features":
        quantiles = min(200, len(task.examples.truth))
        return make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            QuantileTransformer(n_quantiles=quantiles, random_state=task.seed),
            StandardScaler(),
        )
    if name == "vector":
        return StandardScaler() if parameters.get("scale_vector", True) else None
    cut = {"ngram_range": (1, 2)} if name == "text" else {"analyzer": title_terms}
    return TfidfVectorizer(
        min_df=parameters.get("min_df", 1),
        max_features=max(_TERMS[0], min(_TERMS[1], _WEIGHTS // len(task.labels))),
        sublinear_tf=True,
        dtype=np.float32,
        **cut,
    )


def _has_titles(examples: Examples, parameters: Mapping[str, Any]) -> bool:
    """Whether a term of titles is in enough of them; they are read once."""
    kept = _kept.setdefault(examples, {})
    if _TITLES not in kept:
        texts = examples.inputs[TEXT]
        counts: Counter[str] = Counter(term for text in texts for term in {*title_terms(text)})
        kept[_TITLES] = max(counts.values(), default=0), None
    return bool(kept[_TITLES][0] >= int(parameters.get("min_df", 1)))
