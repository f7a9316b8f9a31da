"""Searches of the published generation."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request

from ml_assets.search.answering.engine import ask_ahead, check_space, search_vector, similar
from ml_assets.search.answering.model import MAX_K, Engine, SearchResult
from ml_assets.search.filters.language import Condition
from ml_assets.search.filters.parse import condition_of, format_condition
from ml_assets.search.filters.sql import check_known
from ml_assets.service.access import Reader
from ml_assets.service.answering import Pinned, Service, TheService
from ml_assets.service.following.opened import Lane, OpenedRelease
from ml_assets.service.refusals import nothing_published
from ml_assets.service.routes import PREFIX
from ml_assets.service.schemas import Filters, SearchAnswer, SearchRequest, SimilarRequest

router = APIRouter(prefix=PREFIX, tags=["search"])


@router.get("/search")
async def search_by_url(
    request: Request,
    asked: Annotated[SearchRequest, Query()],
    _: Reader,
    opened: Pinned,
    service: TheService,
) -> SearchAnswer:
    """Search the published generation, with the options in the URL."""
    service.note_texts(request, [asked.query])
    return await _search(asked, opened, service)


@router.post("/search")
async def search(
    request: Request, asked: SearchRequest, _: Reader, opened: Pinned, service: TheService
) -> SearchAnswer:
    """Search the published generation: keyword and vector, fused."""
    service.note_texts(request, [asked.query])
    return await _search(asked, opened, service)


@router.get("/similar/{document_id:path}")
async def similar_documents(
    document_id: str,
    asked: Annotated[SimilarRequest, Query()],
    _: Reader,
    opened: Pinned,
    service: TheService,
) -> SearchAnswer:
    """Find the documents that are nearest to one."""
    condition = _condition(asked)
    result = await service.on_lane(
        opened,
        lambda lane: similar(engine_of(lane), document_id, k=asked.k, filters=condition),
    )
    return _answer(result, opened, asked.k, 0)


async def _search(asked: SearchRequest, opened: OpenedRelease, service: Service) -> SearchAnswer:
    return _answer(await find(asked, opened, service), opened, asked.k, asked.offset)


async def find(asked: SearchRequest, opened: OpenedRelease, service: Service) -> SearchResult:
    """The documents of a search, those of the pages before it included."""
    condition, k = _condition(asked), min(MAX_K, asked.offset + asked.k)
    encoding = None
    if asked.method != "keyword":
        if generation := opened.served.generation:
            check_space(generation, service.encoder)
        encoding = service.encoder.submit([asked.query], queries=True)
        if service.space.is_remote:  # that may take long, and is waited for by no lane
            await asyncio.wrap_future(encoding)

    def answer(lane: Lane) -> SearchResult:
        engine = engine_of(lane)
        check_known(engine.connection, condition)
        # While the query is encoded.
        ahead = ask_ahead(engine, asked.query, k=k, method=asked.method, filters=condition)
        return search_vector(
            engine,
            asked.query,
            encoding.result()[0] if encoding else None,
            k=k,
            method=asked.method,
            filters=condition,
            min_relevance=asked.min_relevance,
            ahead=ahead,
        )

    return await service.on_lane(opened, answer)


def engine_of(lane: Lane) -> Engine:
    """The engine of a lane.

    Raises:
        RefusedError: no search was published yet.
    """
    if lane.engine is None:
        raise nothing_published("search")
    return lane.engine


def _condition(asked: Filters) -> Condition:
    return condition_of(
        asked.collection, asked.label, asked.since, asked.until, asked.where, asked.filter
    )


def _answer(result: SearchResult, opened: OpenedRelease, k: int, offset: int) -> SearchAnswer:
    after = offset + k
    page = replace(result, hits=result.hits[offset:after])
    return SearchAnswer(
        release=opened.served.release_id,
        generation_id=page.generation_id,
        method=page.method,
        filters=format_condition(page.filters),
        complete=page.complete,
        behind=page.behind,
        hits=page.hits,
        next=after if len(page.hits) == k and after < MAX_K else None,
    )
