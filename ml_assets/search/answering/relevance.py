"""Relevance: how probably a document answers a query, comparable across queries.

The scores of a fusion are relative: the first document of any query has about 1. The cosine of
query and chunk is not, but its scale is the model's own. A logistic curve turns it into the part
of documents of that cosine that judges called relevant.

Source: J. Platt, "Probabilistic outputs for support vector machines", 1999; for retrieval scores:
S. Cooper, F. Gey, D. Dabney, "Probabilistic retrieval based on staged logistic regression", 1992.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ml_assets.embeddings.space import BUNDLED_SHA256
from ml_assets.errors import UserError
from ml_assets.search.model import Generation


@dataclass(frozen=True, slots=True)
class Curve:
    """Relevance is one half at the cosine `middle`, and rises with `slope` per unit of it."""

    middle: float
    slope: float


CURVES = {BUNDLED_SHA256: Curve(middle=0.72, slope=8.0)}
"""By the weights of the model, whatever it is called; fitted on the first 20 documents of the
judged queries of `python_docs` (.703, 8.3) and Cranfield (.740, 8.0)."""


def relevance(generation: Generation, cosine: float) -> float:
    """The relevance of a document, 0 to 1, by the cosine of the query to its nearest chunk.

    With a model whose curve is not known it is the cosine itself, and nothing below 0.
    """
    curve = CURVES.get(generation.weights)
    if curve is None:
        return min(1.0, max(0.0, cosine))
    return 1 / (1 + math.exp(-curve.slope * (cosine - curve.middle)))


def least_cosine(generation: Generation, least: float) -> float:
    """The cosine from which on documents have at least this relevance; -1 for none.

    Raises:
        UserError: it is not 0 to 1.
    """
    if not 0 <= least <= 1:
        what = f"a relevance is 0 to 1, not {least}"
        raise UserError(what, where="--min-relevance", do="Give a number between them")
    if least == 0:
        return -1.0
    curve = CURVES.get(generation.weights)
    if curve is None or least == 1:
        return least
    return curve.middle + math.log(least / (1 - least)) / curve.slope
