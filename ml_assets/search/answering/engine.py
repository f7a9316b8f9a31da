"""Searching: the published generation, keyword and vector, fused at document level."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from psycopg.errors import UndefinedTable
from psycopg.rows import dict_row

from ml_assets.embeddings.quantization import unit
from ml_assets.embeddings.scripts import is_readable
from ml_assets.errors import NothingToDoError, SpaceMismatchError, StoreError, UserError
from ml_assets.search.answering.model import (
    Ahead,
    Engine,
    Hit,
    Method,
    SearchResult,
    check_request,
)
from ml_assets.search.answering.ranking import DEPTH, Ranked, rank_documents
from ml_assets.search.answering.relevance import least_cosine, relevance
from ml_assets.search.answering.rerank import load_reranker, reranked
from ml_assets.search.answering.snippet import snippet, telling_terms
from ml_assets.search.filters.language import NO_FILTER, Condition
from ml_assets.search.filters.sql import check_known, sql_condition
from ml_assets.search.generation import on_vectors, published_generation
from ml_assets.search.indexes.contract import Waiting
from ml_assets.search.indexes.kinds import (
    Indexes,
    follow_index,
    kept_by_tables,
    query_index,
    waiting_documents,
)
from ml_assets.search.model import Generation, Vector
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from ml_assets.embeddings.encoder import Encoder

DEPTHS = (DEPTH, 400, 1600)
"""Chunks asked of each index; deeper only while their documents are fewer than k."""

FILTERED_DEPTH = 50
"""The same under a filter, where each takes longer to find, at first; k, if that is more."""


@contextmanager
def open_engine(
    connection: postgres.Connection, indexes: Indexes, generation: Generation | None = None
) -> Iterator[Engine]:
    """Open the published generation, or the one that is given, with the indexes that answer.

    Those of this host are brought up to what another host last wrote.

    Raises:
        NothingToDoError: no generation was published yet.
        StoreError: an index cannot be opened.
        SettingError: the model for reranking cannot be used.
    """
    opened = generation or published_generation(connection)
    if opened is None:
        raise NothingToDoError(
            "no search was published yet", where="search", do="Run `ml-assets run` first"
        )
    settings = indexes.settings
    vector, text = indexes.answering(opened)
    with (
        indexes.open(connection, opened, text) as keyword,
        indexes.open(connection, opened, vector) as nearest,
    ):
        behind = max(follow_index(connection, index) for index in (keyword, nearest))
        reranker, top = load_reranker(settings), settings.rerank_top
        yield Engine(
            connection,
            opened,
            nearest,
            keyword,
            opened.fusion,
            reranker,
            top,
            reads=partial(is_readable, settings=settings),
            behind=behind,
        )


@contextmanager
def open_beside(
    engine: Engine, connection: postgres.Connection, indexes: Indexes
) -> Iterator[Engine]:
    """The engine for another thread, on a connection of its own; the first must stay open.

    What lies outside PostgreSQL is opened once for both.
    """
    with ExitStack() as stack:
        vector = engine.vector
        if kept_by_tables(engine.generation) == vector.kind:
            vector = stack.enter_context(indexes.open(connection, engine.generation, vector.kind))
        yield replace(
            engine, connection=connection, vector=vector, beside=ThreadPoolExecutor(max_workers=1)
        )


def search(
    engine: Engine,
    query: str,
    encoder: Encoder | None,
    *,
    k: int = 10,
    method: Method = "hybrid",
    filters: Condition = NO_FILTER,
    min_relevance: float = 0.0,
) -> SearchResult:
    """Find the `k` best documents for `query`, each shown by its best chunk.

    `encoder` may be None when `method` is "keyword".

    Raises:
        UserError: the query is empty, `k` is not in 1..100, there is no such method, the method has
            no relevance, or the filter asks for a collection, a label or metadata that no document
            has.
        SpaceMismatchError: the encoder makes vectors of another space than the generation's.
        StoreError: an index is missing.
    """
    check_request(query, k, method)
    check_known(engine.connection, filters)
    vector, ahead = None, None
    if method != "keyword":
        if encoder is None:
            raise UserError(
                "searching by vector needs an encoder", where="search", do="Use the method keyword"
            )
        check_space(engine.generation, encoder)
        vector, ahead = _encode_and_ask(engine, query, encoder, k, method, filters)
    return search_vector(
        engine,
        query,
        vector,
        k=k,
        method=method,
        filters=filters,
        min_relevance=min_relevance,
        ahead=ahead,
    )


def similar(
    engine: Engine, document_id: str, *, k: int = 10, filters: Condition = NO_FILTER
) -> SearchResult:
    """Find the `k` documents that are nearest to one, by the mean of the vectors of its chunks.

    Raises:
        NothingToDoError: the generation has no vector of a live document of this id.
        UserError: `k` is not in 1..100, or the filter asks for what no document has.
        StoreError: an index is missing.
    """
    check_request(document_id, k, "vector")
    check_known(engine.connection, filters)
    query = on_vectors(engine.generation, statement("postgres/search/answering/document_vector"))
    bound = {"document_id": document_id}
    ((mean,),) = engine.connection.execute(query, bound, binary=True).fetchall()
    if mean is None:
        raise NothingToDoError(
            f"no document {document_id!r} has vectors", do="See its id in `ml-assets search --json`"
        )
    found = search_vector(
        engine, "", unit(mean.to_numpy()[None])[0], k=k + 1, method="vector", filters=filters
    )
    others = tuple(hit for hit in found.hits if hit.document_id != document_id)[:k]
    return replace(found, hits=others, complete=found.complete or len(others) == k)


def check_space(generation: Generation, encoder: Encoder) -> None:
    """Refuse an encoder whose vectors cannot be compared with the generation's."""
    if encoder.space.space_id != generation.space_id:
        raise SpaceMismatchError(
            f"queries would be of vector space {encoder.space.space_id}, but generation"
            f" {generation.generation_id} is of space {generation.space_id}",
            where="ML_ASSETS_EMBEDDING_MODEL",
            do="Set the model the generation was built with, or run `ml-assets run`",
        )


def ask_ahead(
    engine: Engine,
    query: str,
    *,
    k: int = 10,
    method: Method = "hybrid",
    filters: Condition = NO_FILTER,
) -> Ahead:
    """What `search_vector` asks before it needs a vector; it can be while a query is encoded.

    Raises:
        StoreError: an index is missing.
    """
    with _told(engine):
        waiting = _count_waiting(engine, filters)
        if method != "hybrid":
            return Ahead(waiting)
        depth, *_ = _depths(k, filters)
        matching = query_index(engine.connection, engine.keyword, query, depth, filters)
        return Ahead(waiting, matching)


def _encode_and_ask(
    engine: Engine, query: str, encoder: Encoder, k: int, method: Method, filters: Condition
) -> tuple[Vector, Ahead]:
    """The vector of a query, and what `ask_ahead` gives in the other thread meanwhile."""
    beside = engine.beside.submit(ask_ahead, engine, query, k=k, method=method, filters=filters)
    try:
        vector = encoder.encode_queries([query])[0]
    finally:
        wait([beside])  # an error leaves no query behind
    return vector, beside.result()


def search_vector(
    engine: Engine,
    query: str,
    vector: Vector | None,
    *,
    k: int = 10,
    method: Method = "hybrid",
    filters: Condition = NO_FILTER,
    min_relevance: float = 0.0,
    ahead: Ahead | None = None,
) -> SearchResult:
    """Like `search`, with the vector of the query given; it may be None for "keyword".

    `ahead` is what `ask_ahead` gave for the same, if it was asked. A hybrid search in a script that
    the model does not know is one by words alone, as the result tells by its method.
    """
    if method == "hybrid" and vector is not None and not engine.reads(query):
        if min_relevance:
            what = "the model does not know the script of the query, so no relevance is known"
            do = "Leave it out, or set ML_ASSETS_EMBEDDING_MODEL to a multilingual model"
            raise UserError(what, where="--min-relevance", do=do)
        vector, method = None, "keyword"
    # A reranker compares meanings, too.
    reranker = engine.reranker if method == "hybrid" else None
    most = max(k, engine.rerank_top) if reranker else k
    least = _least(engine, method, min_relevance)
    with _told(engine):
        # Before the indexes: what they are given meanwhile may not be among what they found.
        waiting = ahead.waiting if ahead else _count_waiting(engine, filters)
        matching = ahead.matching if ahead else None
        for depth in _depths(k, filters):
            ranked = rank_documents(engine, query, vector, method, filters, depth, least, matching)
            matching = None
            hits = list(islice(_hits(engine, ranked, query, vector, most, filters), most))
            complete = len(hits) >= k or ranked.exhausted
            if complete:
                break
    if reranker:
        hits = reranked(reranker, query, hits, engine.rerank_top)
    behind = max(engine.behind, waiting.documents)
    complete = complete and not (engine.behind or waiting.could_pass)
    identity = engine.generation.generation_id
    return SearchResult(tuple(hits[:k]), complete, identity, method, filters, behind)


def _count_waiting(engine: Engine, filters: Condition) -> Waiting:
    answering = (engine.vector, engine.keyword)
    return waiting_documents(engine.connection, engine.generation, answering, filters)


@contextmanager
def _told(engine: Engine) -> Iterator[None]:
    """Tell of tables that were dropped within the block what they were."""
    try:
        yield
    except UndefinedTable:
        raise StoreError(
            f"the vectors of generation {engine.generation.generation_id} were dropped",
            where="search",
            do="Open the published generation again",
        ) from None


def _depths(k: int, filters: Condition) -> tuple[int, ...]:
    first, *deeper = DEPTHS
    return (first if filters == NO_FILTER else min(first, max(FILTERED_DEPTH, k)), *deeper)


def _least(engine: Engine, method: Method, min_relevance: float) -> float:
    """The cosine that a document must have."""
    if min_relevance and method == "keyword":
        raise UserError(
            "words alone tell no relevance", where="--min-relevance", do="Use hybrid or vector"
        )
    return least_cosine(engine.generation, min_relevance)


def _hits(
    engine: Engine,
    ranked: Ranked,
    asked: str,
    vector: Vector | None,
    window: int,
    filters: Condition,
) -> Iterator[Hit]:
    """The documents, each with the text that shows it, read `window` at a time.

    Those that died since the index was synced are passed over. The cosine is that of the nearest
    chunk that was found; of what was found by its words, or by feedback, alone, that of this one.
    """
    from pgvector import HalfVector

    terms = telling_terms(asked)
    condition, bound = sql_condition(filters)
    bound["vector"] = None if vector is None else HalfVector(vector)
    by_words, by_vector = (ranked.scores.get(name, {}) for name in ("keyword", "vector"))
    query = statement("postgres/search/answering/hits")
    text = on_vectors(engine.generation, query, filter=condition)
    for start in range(0, len(ranked.documents), window):
        documents = ranked.documents[start : start + window]
        shown = [ranked.chunks[document_id] for document_id, _ in documents]
        bound["chunk_ids"] = postgres.text_array(shown)
        cursor = engine.connection.cursor(row_factory=dict_row)
        rows = {row["document_id"]: row for row in cursor.execute(text, bound)}
        for document_id, score in documents:
            if row := rows.get(document_id):
                row |= {f"{name}_rank": by.get(document_id) for name, by in ranked.ranks.items()}
                cosine = by_vector.get(document_id, row.pop("cosine"))
                yield Hit(
                    **row,
                    score=score,
                    snippet=snippet(row["text"], terms),
                    keyword_score=by_words.get(document_id),
                    vector_score=cosine,
                    relevance=None if cosine is None else relevance(engine.generation, cosine),
                )
