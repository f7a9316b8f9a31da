"""Searching: the published generation, keyword and vector, fused at document level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import dict_row

from ml_assets.errors import NothingToDoError, SpaceMismatchError, UserError
from ml_assets.search.chroma import ChromaIndex
from ml_assets.search.filters import NO_FILTER, SearchFilter, sql_condition
from ml_assets.search.fusion import reciprocal_rank_fusion
from ml_assets.search.generation import published_generation
from ml_assets.search.keyword import KeywordIndex
from ml_assets.search.model import (
    METHODS,
    Generation,
    Hit,
    Method,
    Ranking,
    SearchResult,
    TextIndex,
    Vector,
    VectorIndex,
)
from ml_assets.search.pgvector import PgvectorIndex
from ml_assets.search.snippet import query_terms, snippet
from ml_assets.settings import Settings, secret
from ml_assets.stores import chroma, postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from ml_assets.embeddings.encoder import Encoder

MAX_K = 100
DEPTHS = (100, 400, 1600)
"""Chunks asked of each index; deeper only while their documents are fewer than k."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One generation, opened for searching."""

    connection: postgres.Connection
    generation: Generation
    vector: VectorIndex
    keyword: TextIndex


@dataclass(frozen=True, slots=True)
class _Fused:
    """Documents, best first, with their score, their rank by index, and their best chunk."""

    documents: Sequence[tuple[str, float]]
    ranks: Mapping[str, Mapping[str, int]]
    chunks: Mapping[str, str]
    exhausted: bool


@contextmanager
def open_engine(
    connection: postgres.Connection, settings: Settings, generation: Generation | None = None
) -> Iterator[Engine]:
    """Open the published generation, or the one that is given, with the indexes that answer.

    Raises:
        NothingToDoError: no generation was published yet.
        StoreError: an index cannot be opened.
    """
    opened = generation or published_generation(connection)
    if opened is None:
        raise NothingToDoError(
            "no search was published yet", where="search", do="Run `ml-assets run` first"
        )
    with ExitStack() as stack:
        keyword = KeywordIndex(settings.keyword_folder, opened)
        stack.callback(keyword.close)
        vector: VectorIndex = PgvectorIndex(connection, opened)
        if settings.vector_index == "chroma":
            client = stack.enter_context(chroma.connect(secret(settings.chroma_url), settings.home))
            vector = ChromaIndex(client, opened)
        yield Engine(connection, opened, vector, keyword)


def search(
    engine: Engine,
    query: str,
    encoder: Encoder | None,
    *,
    k: int = 10,
    method: Method = "hybrid",
    filters: SearchFilter = NO_FILTER,
) -> SearchResult:
    """Find the `k` best documents for `query`, each shown by its best chunk.

    `encoder` may be None when `method` is "keyword".

    Raises:
        UserError: the query is empty, `k` is not in 1..100, or there is no such method.
        SpaceMismatchError: the encoder makes vectors of another space than the generation's.
        StoreError: an index is missing.
    """
    _check_request(query, k, method)
    vector = None if method == "keyword" else encode_query(engine, query, encoder)
    return search_vector(engine, query, vector, k=k, method=method, filters=filters)


def encode_query(engine: Engine, query: str, encoder: Encoder | None) -> Vector:
    """The vector of one query, of shape (dimension,).

    Raises:
        SpaceMismatchError: the encoder makes vectors of another space than the generation's.
    """
    if encoder is None:
        raise UserError("searching by vector needs an encoder", where="search")
    check_space(engine.generation, encoder)
    vector: Vector = encoder.encode([query])[0]
    return vector


def check_space(generation: Generation, encoder: Encoder) -> None:
    """Refuse an encoder whose vectors cannot be compared with the generation's.

    Raises:
        SpaceMismatchError: the encoder is of another space.
    """
    if encoder.space.space_id != generation.space_id:
        raise SpaceMismatchError(
            f"queries would be of vector space {encoder.space.space_id}, but generation"
            f" {generation.generation_id} is of space {generation.space_id}",
            where="ML_ASSETS_EMBEDDING_MODEL",
            do="Set the model the generation was built with, or run `ml-assets run`",
        )


def search_vector(
    engine: Engine,
    query: str,
    vector: Vector | None,
    *,
    k: int = 10,
    method: Method = "hybrid",
    filters: SearchFilter = NO_FILTER,
) -> SearchResult:
    """Like `search`, with the vector of the query given; it may be None for "keyword"."""
    for depth in DEPTHS:
        fused = _fuse(engine, query, vector, method, filters, depth)
        hits = _hits(engine, fused, query, k, filters)
        complete = len(hits) == k or fused.exhausted
        if complete:
            break
    return SearchResult(hits, complete, engine.generation.generation_id, method, filters)


def document_rankings(engine: Engine, query: str, vector: Vector) -> dict[str, list[str]]:
    """What each index ranks for a query, by document; no text is read, so measuring is cheap."""
    rankings = _ask(engine, query, vector, "hybrid", NO_FILTER, DEPTHS[0])
    return {name: list(_first_chunks(ranking)) for name, ranking in rankings.items()}


def _check_request(query: str, k: int, method: str) -> None:
    if not query.strip():
        raise UserError("the query is empty", where="search", do="Give some words to look for")
    if not 1 <= k <= MAX_K:
        raise UserError(f"k must be 1 to {MAX_K}, got {k}", where="search")
    if method not in METHODS:
        raise UserError(
            f"there is no method {method!r}", where="search", do=f"Known: {', '.join(METHODS)}"
        )


def _fuse(
    engine: Engine,
    query: str,
    vector: Vector | None,
    method: Method,
    filters: SearchFilter,
    depth: int,
) -> _Fused:
    rankings = _ask(engine, query, vector, method, filters, depth)
    first = {name: _first_chunks(ranking) for name, ranking in rankings.items()}
    ranks = {
        name: {document_id: rank for rank, document_id in enumerate(positions, start=1)}
        for name, positions in first.items()
    }
    return _Fused(
        reciprocal_rank_fusion(
            {name: list(documents) for name, documents in ranks.items()}, engine.generation.weights
        ),
        ranks,
        _best_chunks(first, ranks),
        all(ranking.exhausted for ranking in rankings.values()),
    )


def _ask(
    engine: Engine,
    query: str,
    vector: Vector | None,
    method: Method,
    filters: SearchFilter,
    depth: int,
) -> dict[str, Ranking]:
    rankings: dict[str, Ranking] = {}
    if method != "vector":
        rankings["keyword"] = engine.keyword.query(query, depth, filters)
    if method != "keyword" and vector is not None:
        rankings["vector"] = engine.vector.query(vector, depth, filters)
    return rankings


def _first_chunks(ranking: Ranking) -> dict[str, str]:
    """Documents in the order of their first chunk, with that chunk."""
    first: dict[str, str] = {}
    for chunk_id in ranking.chunk_ids:
        first.setdefault(_document_of(chunk_id), chunk_id)
    return first


def _best_chunks(
    first: Mapping[str, Mapping[str, str]], ranks: Mapping[str, Mapping[str, int]]
) -> dict[str, str]:
    """The chunk that shows a document: its first one in the ranking that ranks it best."""
    best: dict[str, tuple[int, str]] = {}
    for name, chunks in first.items():
        for document_id, chunk_id in chunks.items():
            rank = ranks[name][document_id]
            if document_id not in best or rank < best[document_id][0]:
                best[document_id] = rank, chunk_id
    return {document_id: chunk_id for document_id, (_, chunk_id) in best.items()}


def _document_of(chunk_id: str) -> str:
    return chunk_id.rpartition("#")[0]


def _hits(
    engine: Engine, fused: _Fused, query: str, k: int, filters: SearchFilter
) -> tuple[Hit, ...]:
    """Show the first `k` documents; those that died since the index was synced are passed over."""
    terms = query_terms(query)
    hits: list[Hit] = []
    for start in range(0, len(fused.documents), k):
        window = fused.documents[start : start + k]
        rows = _details(engine, [fused.chunks[document_id] for document_id, _ in window], filters)
        for document_id, score in window:
            row = rows.get(document_id)
            if row is None or len(hits) == k:
                continue
            row["snippet"] = snippet(row.pop("text"), terms)
            for name, by_document in fused.ranks.items():
                row[f"{name}_rank"] = by_document.get(document_id)
            hits.append(Hit(**row, score=score))
        if len(hits) == k:
            break
    return tuple(hits)


def _details(
    engine: Engine, chunk_ids: Sequence[str], filters: SearchFilter
) -> dict[str, dict[str, Any]]:
    condition, bound = sql_condition(filters)
    query = sql.SQL(statement("postgres/search/hits")).format(filter=sql.SQL(condition))
    with engine.connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, {**bound, "chunk_ids": list(chunk_ids)}).fetchall()
    return {row["document_id"]: row for row in rows}
