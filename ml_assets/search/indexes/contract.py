"""The contract of an index, and of a kind of index; nothing here knows a kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, TypeVar

from ml_assets.delta import Delta
from ml_assets.progress import Progress
from ml_assets.search.filters.language import NO_FILTER, Condition, Filter
from ml_assets.search.model import Generation, Vector
from ml_assets.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from pgvector import HalfVector

    from ml_assets.stores import postgres

Query = TypeVar("Query", contravariant=True)


@dataclass(frozen=True)
class Ranking:
    """Chunk ids, best first, each with its score (more is better: BM25, or the cosine).

    `exhausted`: nothing else that matches was left out.
    """

    chunk_ids: Sequence[str]
    scores: Sequence[float]
    exhausted: bool

    @classmethod
    def best_first(cls, scored: Iterable[tuple[float, str]], *, exhausted: bool) -> Self:
        """Rank scores with chunk ids; of equal scores the smaller id comes first."""
        ranked = sorted([(-score, chunk_id) for score, chunk_id in scored])
        return cls([chunk_id for _, chunk_id in ranked], [-score for score, _ in ranked], exhausted)

    @cached_property
    def documents(self) -> Mapping[str, int]:
        """The documents in the order of their first chunk, each with the place of that chunk."""
        first: dict[str, int] = {}
        for place, chunk_id in enumerate(self.chunk_ids):
            first.setdefault(chunk_id.rpartition("#")[0], place)
        return first

    def down_to(self, least: float) -> Ranking:
        """What has the `least` score; when something has not, there is nothing more that has."""
        kept = sum(score >= least for score in self.scores)
        whole = self.exhausted or kept < len(self.scores)
        return Ranking(self.chunk_ids[:kept], self.scores[:kept], whole)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many documents wait to be indexed, and how many of them `could_pass` a filter."""

    documents: int
    could_pass: int


class Index(Protocol[Query]):
    """One index of one generation. It owns the handle on its store."""

    kind: str
    generation: Generation

    def query(self, query: Query, k: int, filters: Filter = NO_FILTER, /) -> Ranking:
        """Rank the `k` best chunks that pass the filter, which the index can express.

        Raises:
            SpaceMismatchError: the vector has another dimension than the space.
            StoreError: the generation has no index here.
        """

    def query_many(self, queries: Sequence[Query], k: int, /) -> list[Ranking]:
        """What `query` gives for each of the queries, in less time where the store can."""

    def expresses(self, condition: Condition, /) -> bool:
        """Whether the index itself can tell exactly which chunks pass the condition."""

    def revisions(
        self, chunk_ids: Sequence[str] | None = None
    ) -> Iterator[tuple[str, bytes | None]]:
        """The chunks that the index itself holds, of all or of `chunk_ids`, with their revisions.

        None for a revision: the store keeps the chunk equal to the tables by itself.
        """

    def size(self) -> int:
        """How many chunks the index itself holds."""

    def drop(self, kept: Sequence[Generation] = ()) -> bool:
        """Delete the index, unless a kept generation uses the same one; repeatable.

        Returns False when a reader is busy with it.
        """

    def close(self) -> None:
        """Let go of the store, and of what no mark was set after; the next call opens it again."""


VectorIndex: TypeAlias = Index["Vector"]
"""Ranks by the cosine to a vector of shape (dimension,)."""

TextIndex: TypeAlias = Index[str]
"""Ranks by the words of a text."""

AnyIndex: TypeAlias = Index[Any]


class GraphIndex(Index[Query], Protocol):
    """An index that churn wears out."""

    def rebuild(self) -> str | None:
        """Build the index anew while the old one answers.

        Returns a remark, mostly empty; None when a reader held the old one, which stays.
        """


class LedgerIndex(Index[Query], Protocol):
    """An index outside PostgreSQL, which the ledger brings up to date."""

    stores_vectors: bool
    lock: Path | None
    """The file that whoever writes an index of this host locks; None for one on a server."""

    def revisions(self, chunk_ids: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """The chunks that the index itself holds, of all or of `chunk_ids`."""

    def mark(self) -> str:
        """The mark that was last set on the index; empty when there is none."""

    def set_mark(self, mark: str) -> None:
        """Mark the index itself, durably, with all that was written before; it must exist."""

    def upsert(self, entries: Sequence[Entry]) -> int:
        """Store the entries, replacing older revisions; repeating it changes nothing.

        Returns how many vectors were replaced in a graph, which that wears out. Durable when the
        next mark is set: an index without it is asked for what it really holds.
        """

    def remove(self, chunk_ids: Sequence[str]) -> None:
        """Remove the chunks, durably as `upsert` stores them; absent ones are passed over."""

    def rewrite(self, batches: Iterable[Sequence[Entry]]) -> bool:
        """Write its files anew, so that they have no byte of what was removed; others read on.

        `batches` are the entries of all that it holds, for a store that does not keep them itself:
        it then holds what they say. A kill leaves the old index or the new one, and what the next
        call removes. Returns False where there is no index.
        """

    def differing(self, batches: Iterable[Sequence[Entry]]) -> list[str]:
        """The chunks of which it holds something else than the entry, in the entry's revision.

        Another hand changed it. None where a store can be written as a whole only.
        """

    def disk_bytes(self) -> int | None:
        """The size on disk; None where the store keeps it to itself."""


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

    @property
    def vector(self) -> Vector:
        """The embedding, of shape (dimension,); half numbers are exact in float32."""
        if self.embedding is None:
            raise ValueError(f"{self.chunk_id} came without its vector")
        return self.embedding.to_numpy().astype("float32")


@dataclass(frozen=True, slots=True)
class SyncReport:
    """The change of one index that was brought up to date, and its state after it."""

    delta: Delta
    size: int
    bytes: int | None
    seconds: float
    version: str
    """A hash over its content."""
    details: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How the indexes of a kind follow the tables, and how PostgreSQL knows their state."""

    sync: Callable[[postgres.Connection, Any, Progress], SyncReport]
    """Make an index equal to the tables, writing only the difference."""
    version: Callable[[postgres.Connection, Generation, str], str]
    """A hash over the content of a generation's index of this kind: equal content, equal hash."""
    dead: Callable[[postgres.Connection, Generation, str], tuple[int, int]]
    """How many entries of the graph are dead beside how many live ones."""


@dataclass(frozen=True, slots=True)
class IndexKind:
    """A kind of index, as all the rest of the project sees it."""

    name: str
    description: str
    technology: str
    """The store, by the name that the UI has an icon for."""
    answers: Literal["vector", "text"]
    parameters: Callable[[Settings], Mapping[str, Any] | None]
    """What building depends on: another value makes another generation. None: not chosen."""
    open: Callable[[Settings, postgres.Connection, Generation], AbstractContextManager[AnyIndex]]
    """Name the index of a generation; nothing is created before the first write."""
    keep: Callable[[Settings], AbstractContextManager[object]] | None = None
    """Opened once, it makes opening an index of this kind cheap while it stays open."""
    is_graph: bool = False
    """A `GraphIndex`: churn wears it out."""
    pool: str | None = None
    """The pool of the steps that write it, where the store admits one at a time."""
    upkeep: Upkeep | None = None
    """None: the ledger's."""
    tidy: Callable[[Settings, Collection[str]], None] | None = None
    """Remove from the disk of this host what is of no generation, or of none but these."""
