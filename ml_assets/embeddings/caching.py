"""An encoder that remembers the vectors of queries, and is loaded when one is not known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ml_assets.embeddings.encoder import Encoder
from ml_assets.embeddings.space import VectorSpace
from ml_assets.stores.cache import Kind, ReadThrough

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KIND = "query_embeddings"


class CachingEncoder:
    """The encoder of `space` that `load` gives, behind a cache of the vectors of queries.

    `runtime` tells what computes them: another one gives other last bits.
    """

    def __init__(
        self,
        space: VectorSpace,
        load: Callable[[], Encoder],
        cache: ReadThrough,
        seconds: float,
        runtime: str = "",
    ) -> None:
        """Load nothing yet; vectors are kept for `seconds`."""
        self._space, self._load, self._cache = space, load, cache
        self._kind, self._runtime = Kind(KIND, seconds), runtime
        self._recalled: dict[str, bytes] = {}

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors."""
        return self._space

    def knows(self, query: str) -> bool:
        """Whether the vector of a query is cached; the next `encode_queries` then has it."""
        self._recalled = {}
        (stored,) = self._cache.recall(self._kind, [self._name(query)])
        if stored is not None and len(stored) == 4 * self.space.dimension:
            self._recalled[query] = stored
        return bool(self._recalled)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts, which are not kept."""
        return self._load().encode(texts)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode the queries of which the last `knows` knew not; they are kept.

        Each is encoded alone, so that its vector does not depend on the others.
        """
        import numpy as np

        rows = []
        for text in texts:
            stored = self._recalled.get(text)
            if stored is None:
                vector = self._load().encode_queries([text])[0].astype("<f4")
                stored = vector.tobytes()
                self._cache.remember(self._kind, {self._name(text): stored})
            rows.append(np.frombuffer(stored, "<f4"))
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.space.dimension)

    def _name(self, query: str) -> tuple[str, ...]:
        return (self.space.space_id, self._runtime, query)
