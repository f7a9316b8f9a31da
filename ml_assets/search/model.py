"""What a generation, an index, a ranking and a search result are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

from ml_assets.delta import Delta
from ml_assets.errors import UserError
from ml_assets.progress import Progress, no_progress
from ml_assets.search.filters.language import NO_FILTER, Condition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pgvector import HalfVector

    from ml_assets.stores import postgres


Vector: TypeAlias = "NDArray[np.float32]"
Kind = Literal["pgvector", "chroma", "faiss", "keyword"]
Method = Literal["hybrid", "vector", "keyword"]
FusionMethod = Literal["tmm", "minmax", "zscore", "rrf"]
METHODS: tuple[Method, ...] = ("hybrid", "vector", "keyword")

Parameters = Mapping[str, Mapping[str, Any]]
"""The parameters of every index kind: what building it depends on."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """How what the keyword and the vector index found becomes one ranking.

    `keyword_weight` is 0 to 1; the rest is the weight of the vector index. `feedback`: the vector
    of the query is moved towards the first documents found (`feedback.py`). The
    default was chosen on the tuning halves of SciFact, Cranfield and `python_docs`.

    Raises:
        UserError: there is no such method, or the weight is not 0 to 1.
    """

    method: FusionMethod = "tmm"
    keyword_weight: float = 0.3
    feedback: bool = False

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

    `fusion` is the one it was published with; `dropped`: its indexes are gone.
    """

    generation_id: str
    space_id: str
    dimension: int
    parameters: Parameters
    fusion: Fusion = DEFAULT_FUSION
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Ranking:
    """Chunk ids, best first, each with its score (more is better: BM25, or the cosine).

    `exhausted`: nothing else that matches was left out.
    """

    chunk_ids: Sequence[str]
    scores: Sequence[float]
    exhausted: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """All that an index stores of one chunk; `revision` is the sha256 over it."""

    chunk_id: str
    revision: bytes
    title: str
    text: str
    collection: str
    label: str | None
    created_at: int | None
    """Microseconds since 1970 in UTC: an integer is exact in every store."""
    metadata: Mapping[str, str | int | float | bool]
    embedding: HalfVector | None
    """None for an index that stores no vectors."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What bringing one index up to date did, and what the index is now."""

    kind: Kind
    delta: Delta
    size: int
    bytes: int | None
    seconds: float
    version: str


class Index(Protocol):
    """What all indexes have in common; each owns the handle on its store."""

    kind: Kind

    def sync(self, connection: postgres.Connection, progress: Progress = no_progress) -> SyncReport:
        """Make the index equal to the tables; writes only the difference."""

    def version(self, connection: postgres.Connection) -> str:
        """A hash over what the index holds: equal content, equal version."""

    def ids(self, chunk_ids: Sequence[str] | None = None) -> set[str]:
        """The chunk ids that the index itself holds: of all, or of `chunk_ids`."""

    def size(self) -> int:
        """How many chunks the index itself holds."""

    def close(self) -> None:
        """Let go of the store."""


class VectorIndex(Index, Protocol):
    """An index that finds the nearest vectors by cosine."""

    def query(self, vector: Vector, k: int, filters: Condition = NO_FILTER) -> Ranking:
        """Rank the `k` nearest chunks that pass the filter; `vector` has shape (dimension,)."""


class TextIndex(Index, Protocol):
    """An index that finds words."""

    def query(self, text: str, k: int, filters: Condition = NO_FILTER) -> Ranking:
        """Rank the `k` best chunks that hold a word of `text` and pass the filter."""


class LedgerIndex(Protocol):
    """An index outside PostgreSQL, as the row delta needs it."""

    kind: Kind

    def size(self) -> int:
        """How many chunks the index itself holds."""

    def revisions(self, chunk_ids: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """What the index itself holds, of all or of `chunk_ids`: each id with its revision."""

    def mark(self) -> str:
        """The mark that was last set on the index; empty when there is none."""

    def set_mark(self, mark: str) -> None:
        """Mark the index itself, durably, with all that was written before; it must exist."""

    def upsert(self, entries: Sequence[Entry]) -> int:
        """Store the entries, replacing older revisions; repeating it changes nothing.

        Returns how many vectors were replaced in a graph, which that wears out. Durable when the
        next mark is set: an index without it is asked what it really holds.
        """

    def remove(self, chunk_ids: Sequence[str]) -> None:
        """Remove the chunks, durably as `upsert` stores them; absent ones are passed over."""


class Reranker(Protocol):
    """What says how well a text answers a query."""

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text; more is better."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One generation, opened for searching.

    A `reranker` reorders the first `rerank_top` documents of a hybrid search.
    """

    connection: postgres.Connection
    generation: Generation
    vector: VectorIndex
    keyword: TextIndex
    fusion: Fusion = DEFAULT_FUSION
    reranker: Reranker | None = None
    rerank_top: int = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """One document of a result, shown by its best chunk."""

    document_id: str
    title: str
    url: str | None
    collection: str
    label: str | None
    score: float
    snippet: str
    chunk_index: int
    start_offset: int
    end_offset: int
    keyword_rank: int | None = None
    vector_rank: int | None = None
    rerank_score: float | None = None
    """What the cross-encoder gave it; None beyond the documents it reads."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first; `complete`: there are k of them, or all that match."""

    hits: tuple[Hit, ...]
    complete: bool
    generation_id: str
    method: Method = "hybrid"
    filters: Condition = NO_FILTER
