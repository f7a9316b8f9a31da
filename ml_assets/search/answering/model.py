"""The opened search, what it can be asked, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from ml_assets.errors import UserError
from ml_assets.search.filters.language import NO_FILTER, Condition, Scalar, is_unicode
from ml_assets.search.indexes.contract import Ranking, TextIndex, VectorIndex, Waiting
from ml_assets.search.model import DEFAULT_FUSION, Fusion, Generation

if TYPE_CHECKING:
    from ml_assets.stores import postgres

Method = Literal["hybrid", "vector", "keyword"]
METHODS: tuple[Method, ...] = get_args(Method)
MAX_K = 100


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
    beside: Executor = field(default_factory=partial(ThreadPoolExecutor, 1), compare=False)
    """The thread in which one index is asked beside the other; it ends with the engine."""
    reads: Callable[[str], bool] = lambda _: True
    """Whether the model knows the script of a query. Where not, its vector tells letters at most,
    and a hybrid search is one by words alone."""
    behind: int = 0
    """Documents by which an index of this host is behind, because another process writes it."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a search asks that needs no vector: who waits to be indexed, and what has the words."""

    waiting: Waiting
    matching: Ranking | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One document of a result, shown by its best chunk, whose whole text is `text`.

    `score` orders one result, and is relative to it; `relevance` compares across queries. It is
    None where no vector was asked for.
    """

    document_id: str
    title: str
    url: str | None
    collection: str
    label: str | None
    score: float
    relevance: float | None
    text: str
    snippet: str
    chunk_index: int
    start_offset: int
    end_offset: int
    path: Sequence[str] = ()
    """The headings above the text, outermost first, without the title."""
    created_at: datetime | None = None
    observed_at: datetime | None = None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    keyword_rank: int | None = None
    vector_rank: int | None = None
    keyword_score: float | None = None
    """BM25 of the best chunk that the keyword index found."""
    vector_score: float | None = None
    """The cosine of the query to the nearest chunk that was found."""
    rerank_score: float | None = None
    """The score of the cross-encoder; None beyond the documents it reads."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first; `complete`: there are k of them, or all that match.

    `behind`: documents that wait to be indexed, or that an index of this host still lacks. With
    one among them that could pass the filter, the result is not complete.
    """

    hits: tuple[Hit, ...]
    complete: bool
    generation_id: str
    method: Method = "hybrid"
    filters: Condition = NO_FILTER
    behind: int = 0


def check_request(query: str, k: int, method: str) -> None:
    """Refuse what no search can answer, with a UserError."""
    if not query.strip():
        raise UserError("the query is empty", where="search", do="Give some words to look for")
    if not is_unicode(query):
        raise UserError("the query is not valid Unicode", where="search", do="Write it in UTF-8")
    if not 1 <= k <= MAX_K:
        raise UserError(
            f"{k} documents were asked for", where="--limit", do=f"Ask for 1 to {MAX_K}"
        )
    if method not in METHODS:
        raise UserError(
            f"there is no method {method!r}", where="search", do=f"Known: {', '.join(METHODS)}"
        )
