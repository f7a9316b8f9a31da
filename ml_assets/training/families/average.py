"""The average of other families: each member is as sure as it is right, so probabilities add up.

Nothing is fitted for it but the shares of its members and the temperature of their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ml_assets.training.families.base import Family, cool
from ml_assets.training.families.linear import LOGISTIC_REGRESSION, TEXT_AND_VECTOR, TFIDF
from ml_assets.training.families.neural_network import FAMILY as NEURAL_NETWORK

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Average:
    """Fitted models of the same labels, their shares, and the temperature of their mean.

    A class because MLflow and skops save an object; it holds fitted pipelines and numbers.
    """

    shares: Sequence[float] | None = None
    """Equal ones, where it was saved before there were others."""

    def __init__(self, members: Sequence[Any], temperature: float, shares: Sequence[float]) -> None:
        self.members = list(members)
        self.temperature = float(temperature)
        self.shares = list(shares)

    @property
    def classes_(self) -> NDArray[np.object_]:
        """The labels, in the order of the probabilities."""
        labels: NDArray[np.object_] = self.members[0].classes_
        return labels

    def predict_proba(self, inputs: Any) -> NDArray[np.float64]:
        """The mean of the members' probabilities, cooled; shape (len(inputs), len(classes_))."""
        answers = [each.predict_proba(inputs) for each in self.members]
        return cool(mean(answers, self.shares), self.temperature)

    def predict(self, inputs: Any) -> NDArray[np.object_]:
        """The likeliest label of each row."""
        likeliest: NDArray[np.object_] = self.classes_[self.predict_proba(inputs).argmax(axis=1)]
        return likeliest


def mean(
    answers: Sequence[NDArray[np.floating]], shares: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """The mean of probabilities of several models, each of the shape (rows, labels)."""
    import numpy as np

    return np.asarray(np.average([each.astype(np.float64) for each in answers], 0, shares))


FAMILY = Family(
    "average",
    members=(TFIDF, LOGISTIC_REGRESSION, TEXT_AND_VECTOR, NEURAL_NETWORK),
    trusted=("ml_assets.training.families.average.Average",),
    version=3,
)
