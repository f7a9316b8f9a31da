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

    `runtime` tells what computes them: another one gives other last bits, and so does encoding
    several together instead of each alone.
    """

    def __init__(
        self,
        space: VectorSpace,
        load: Callable[[], Encoder],
        cache: ReadThrough,
        seconds: float,
        runtime: str = "",
        *,
        at_once: bool = True,
    ) -> None:
        """Load nothing yet; vectors are kept for `seconds`, 0: not; if not `at_once`, by `keep`."""
        self._space, self._load, self._cache = space, load, cache
        self._kind, self._runtime = Kind(KIND, seconds), runtime
        self._recalled: dict[str, bytes | None] = {}
        self._at_once = at_once
        self._fresh: dict[str, bytes] = {}

    @property
    def space(self) -> VectorSpace:
        """The space of the vectors."""
        return self._space

    def knows(self, query: str) -> bool:
        """Whether the vector of a query is cached; the next `encode_queries` does not ask again."""
        self._recalled = self._recall([query])
        return self._recalled[query] is not None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts, which are not kept."""
        return self._load().encode(texts)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Recall all queries at once, and encode those that are not kept, together.

        Float32, shape (len(texts), dimension), unit norm.
        """
        import numpy as np

        recalled, self._recalled = self._recalled, {}
        if unasked := [text for text in texts if text not in recalled]:
            recalled = recalled | self._recall(unasked)
        if lacking := [text for text in dict.fromkeys(texts) if recalled[text] is None]:
            vectors = self._load().encode_queries(lacking).astype("<f4")
            fresh = {text: row.tobytes() for text, row in zip(lacking, vectors, strict=True)}
            if self._kind.seconds:
                self._fresh |= fresh
            if self._at_once:
                self.keep()
            recalled = recalled | fresh
        stored = b"".join(recalled[text] or b"" for text in texts)
        return np.frombuffer(stored, "<f4").reshape(len(texts), self.space.dimension).copy()

    def keep(self) -> None:
        """Write the vectors that are not in the cache yet."""
        fresh, self._fresh = self._fresh, {}
        self._cache.remember(self._kind, {self._name(text): row for text, row in fresh.items()})

    def _recall(self, texts: Sequence[str]) -> dict[str, bytes | None]:
        asked = [text for text in texts if text not in self._fresh]
        stored = self._cache.recall(self._kind, [self._name(text) for text in asked])
        size = 4 * self.space.dimension
        whole = [value if value is not None and len(value) == size else None for value in stored]
        return {**self._fresh, **dict(zip(asked, whole, strict=True))}

    def _name(self, query: str) -> tuple[str, ...]:
        return (self.space.space_id, self._runtime, query)
