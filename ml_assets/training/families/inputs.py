"""What a family reads: the columns of the examples, prepared by scikit-learn transformers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml_assets.training.examples import TEXT
from ml_assets.training.families.base import Task
from ml_assets.training.families.titles import title_terms

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

_TERMS = (1_000, 20_000)
"""Of a text, at least and at most."""
_WEIGHTS = 1_000_000
"""Terms times labels: the solver keeps twenty vectors of that length."""
SPARSE = ("text", "title")
"""The parts that are words; they stand last."""


def prepare(task: Task, parameters: Mapping[str, Any]) -> tuple[ColumnTransformer, Any]:
    """Prepare what the `weights` name; return how, and the examples of `task` so prepared.

    The order is ours: JSON in PostgreSQL does not keep that of the weights. Where no term is in the
    titles of several, these are no part.
    """
    from sklearn.compose import ColumnTransformer

    parts = {
        "features": (_features(task), list(task.features)),
        "vector": (_vector(parameters), task.vector),
        "text": (_text(task, parameters), TEXT),
        "title": (_title(task, parameters), TEXT),
    }
    wanted = [name for name in parts if name in parameters["weights"]]
    if "title" in wanted and not _has_titles(task, parameters):
        wanted.remove("title")
    inputs = ColumnTransformer(
        [(name, *parts[name]) for name in wanted],
        transformer_weights={name: parameters["weights"][name] for name in wanted},
        verbose_feature_names_out=False,
    )
    prepared = inputs.fit_transform(task.examples.inputs)
    for name in SPARSE:
        if fitted := inputs.named_transformers_.get(name):
            # By ints of Python: skops writes a file for every one of numpy.
            fitted.vocabulary_ = {word: int(column) for word, column in fitted.vocabulary_.items()}
    return inputs, prepared


def _features(task: Task) -> Pipeline:
    """Fill in the median, then map each feature to its quantile, and standardise.

    Quantiles are bounded: a length or distance never seen before cannot outweigh all else.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    quantiles = min(200, len(task.examples.truth))
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        QuantileTransformer(n_quantiles=quantiles, random_state=task.seed),
        StandardScaler(),
    )


def _vector(parameters: Mapping[str, Any]) -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler() if parameters.get("scale_vector", True) else "passthrough"


def _text(task: Task, parameters: Mapping[str, Any]) -> Any:
    """Words and pairs of words, the most frequent ones; fewer where each has many weights."""
    return _terms(task, parameters, ngram_range=(1, 2))


def _title(task: Task, parameters: Mapping[str, Any]) -> Any:
    return _terms(task, parameters, analyzer=title_terms)


def _terms(task: Task, parameters: Mapping[str, Any], **cut: Any) -> Any:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        min_df=parameters.get("min_df", 1),
        max_features=max(_TERMS[0], min(_TERMS[1], _WEIGHTS // len(task.labels))),
        sublinear_tf=True,
        dtype=np.float32,
        **cut,
    )


def _has_titles(task: Task, parameters: Mapping[str, Any]) -> bool:
    """Whether a term of titles is in enough of them."""
    texts = task.examples.inputs[TEXT]
    counts = Counter(term for text in texts for term in {*title_terms(text)})
    return max(counts.values(), default=0) >= parameters.get("min_df", 1)
