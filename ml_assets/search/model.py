"""What a generation, an index, a ranking and a search result are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from ml_assets.delta import Delta
from ml_assets.progress import Progress, no_progress
from ml_assets.search.answering.fusion import DEFAULT_FUSION, Fusion
from ml_assets.search.filters.language import NO_FILTER, Condition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pgvector import HalfVector

    from ml_assets.stores import postgres


Vector: TypeAlias = "NDArray[np.float32]"
Kind = Literal["pgvector", "chroma", "faiss", "keyword"]
Method = Literal["hybrid", "vector", "keyword"]
METHODS: tuple[Method, ...] = ("hybrid", "vector", "keyword")

Parameters = Mapping[str, Mapping[str, Any]]
"""The parameters of every index kind: what building it depends on."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A set of indexes over one vector space that is built, measured and published as one."""

    generation_id: str
    space_id: str
    dimension: int
    parameters: Parameters
    state: Literal["building", "published", "retired", "dropped"]
    evaluation: Mapping[str, Any] | None = None
    """What it was published with."""
    measured: Mapping[str, Any] | None = None
    """The last measurement, published or not yet."""
    withdrawn: Mapping[str, Any] | None = None
    """Who rolled back from it, why and when; no run publishes it until a person does."""

    @property
    def fusion(self) -> Fusion:
        """The fusion it was published with; the default one unless tuned."""
        return Fusion(**((self.evaluation or {}).get("fusion") or {}))


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
