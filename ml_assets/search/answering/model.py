"""The opened search, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from ml_assets.search.filters.language import NO_FILTER, Condition
from ml_assets.search.indexes.contract import TextIndex, VectorIndex
from ml_assets.search.model import DEFAULT_FUSION, Fusion, Generation

if TYPE_CHECKING:
    from ml_assets.stores import postgres

Method = Literal["hybrid", "vector", "keyword"]
METHODS: tuple[Method, ...] = get_args(Method)


Reranker: TypeAlias = Callable[[str, Sequence[str]], list[float]]
"""Scores how well each of the texts answers a query; more is better."""


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
    behind: int = 0
    """Documents by which an index of this host is behind, because another process writes it."""


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
    """The score of the cross-encoder; None beyond the documents it reads."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first; `complete`: there are k of them, or all that match.

    It is not complete when an index of this host was `behind` by some documents.
    """

    hits: tuple[Hit, ...]
    complete: bool
    generation_id: str
    method: Method = "hybrid"
    filters: Condition = NO_FILTER
    behind: int = 0
