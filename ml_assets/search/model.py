"""The generation, and the words that every part of the search shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ml_assets.errors import SpaceMismatchError, UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Vector: TypeAlias = "NDArray[np.float32]"
FusionMethod = Literal["tmm", "minmax", "zscore", "rrf"]

Parameters = Mapping[str, Mapping[str, Any]]
"""What building depends on: the parameters of every index kind, and under `CHUNKING` those of the
chunker whose chunks they hold."""

CHUNKING = "chunking"


@dataclass(frozen=True, slots=True)
class Fusion:
    """How the rankings of the keyword and the vector index become one.

    `keyword_weight` is 0 to 1; the rest is the weight of the vector index. With `feedback` the
    vector of the query is moved towards the first documents (`answering/ranking.py`). The
    default was chosen on the tuning halves of SciFact, Cranfield and `python_docs`.

    Raises:
        UserError: there is no such method, or the weight is not 0 to 1.
    """

    method: FusionMethod = "tmm"
    keyword_weight: float = 0.3
    feedback: bool = True

    def __post_init__(self) -> None:
        if self.method not in get_args(FusionMethod):
            raise UserError(
                f"there is no fusion {self.method!r}",
                where="search",
                do=f"Known: {', '.join(get_args(FusionMethod))}",
            )
        if not 0 <= self.keyword_weight <= 1:
            raise UserError(
                f"the weight of the keyword index must be 0 to 1, got {self.keyword_weight}",
                where="search",
                do="Give a weight between them",
            )

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each index; they add up to 1."""
        return {"keyword": self.keyword_weight, "vector": 1 - self.keyword_weight}


DEFAULT_FUSION = Fusion()


@dataclass(frozen=True, slots=True)
class Generation:
    """A set of indexes over one vector space that is built, measured and published as one.

    `model` makes the vectors of its space, and has these `weights` (sha256); `fusion` is the one it
    was published with; `dropped`: its indexes are gone.
    """

    generation_id: str
    space_id: str
    dimension: int
    parameters: Parameters
    model: str = ""
    weights: str = ""
    fusion: Fusion = DEFAULT_FUSION
    dropped: bool = False

    @property
    def chunker(self) -> str:
        """The chunker whose chunks its indexes hold."""
        return str(self.parameters[CHUNKING]["chunker"])

    def check(self, vector: Vector) -> None:
        """Refuse the vector of a query unless its shape is (dimension,)."""
        if vector.shape != (self.dimension,):
            raise SpaceMismatchError(
                f"a vector of shape {vector.shape} met a space of dimension {self.dimension}",
                where=f"search generation {self.generation_id}",
                do="Encode the query with the model of the generation",
            )
