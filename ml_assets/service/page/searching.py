"""The search page, and what people say of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ml_assets.documents.collections import Collection, read_collections
from ml_assets.documents.history import read_excerpts
from ml_assets.errors import SettingError, UserError
from ml_assets.search.answering.model import Hit
from ml_assets.search.answering.snippet import highlight, telling_terms
from ml_assets.service.access import Caller
from ml_assets.service.answering import Pinned, Service, TheService
from ml_assets.service.following.opened import OpenedRelease
from ml_assets.service.page import judgments
from ml_assets.service.page.asked import SHOWN, Asked
from ml_assets.service.page.facets import Facet, collection_facets, facets_of
from ml_assets.service.page.judgments import Judgment, judgments_of
from ml_assets.service.page.rendering import is_part, redirect, render
from ml_assets.service.page.visiting import Form, Judge, Visitor, field
from ml_assets.service.refusals import RefusedError
from ml_assets.service.routes import search
from ml_assets.service.schemas import SearchAnswer

router = APIRouter(include_in_schema=False)

Said = Literal["up", "down", "none"]
"""What a visitor says of a document."""

_SAID: dict[bool | None, Said] = {True: "up", False: "down", None: "none"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A hit as it is shown: its place, and its words cut where they are of the query."""

    place: int
    hit: Hit
    title: Sequence[tuple[str, bool]]
    snippet: Sequence[tuple[str, bool]]
    said: Said


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: all of it, and the part that is shown."""

    answer: SearchAnswer
    shown: Sequence[Shown]
    facets: Sequence[Facet]


@router.get("/")
async def search_page(
    request: Request,
    asked: Annotated[Asked, Query()],
    caller: Visitor,
    opened: Pinned,
    service: TheService,
) -> Response:
    """What was found, or what there is to be found; as one types, the part that changes."""
    found: Found | None = None
    problem: UserError | None = None
    collections: list[Collection] = []
    if asked.q.strip():
        try:
            found = await _find(request, asked, caller, opened, service)
        except UserError as error:
            if type(error) not in (UserError, SettingError):  # others are no mistakes of who asks
                raise
            problem = error
    else:
        collections = await _collections(opened, service)
    part = is_part(request.scope)
    page = render(
        request,
        "parts/found.html" if part else "search.html",
        422 if problem else 200,
        asked=asked,
        found=found,
        problem=problem,
        collections=collections,
        facets=found.facets if found else _facets_without(collections, asked),
        release=opened.served,
    )
    if part:
        page.headers["HX-Replace-Url"] = asked.url()
    return page


@router.post("/judge")
async def judge(
    request: Request, form: Form, caller: Judge, opened: Pinned, service: TheService
) -> Response:
    """Keep, or forget, what somebody says of a document; then show the same answer again."""
    said, _, document_id = field(form, "judge").partition(":")
    query = field(form, "q").strip()
    if said not in ("up", "down", "none") or not 0 < len(query) <= 2_000:
        raise RefusedError(400, "invalid", "that is no judgment", do="Search, and judge a result")

    known = await service.on_lane(
        opened, lambda lane: read_excerpts(lane.connection, [document_id], 0)
    )
    if document_id not in known:
        what = f"there is no document {document_id[:200]!r}"
        raise RefusedError(404, "not_found", what, do="It may have been removed: search again")
    judgment = Judgment(query, document_id, caller.identity, said == "up", opened.served.release_id)
    act = judgments.withdraw if said == "none" else judgments.judge
    await service.on_primary(lambda connection: act(connection, judgment))
    if is_part(request.scope):
        title = known[document_id].title or document_id
        return render(request, "parts/judge.html", document_id=document_id, said=said, title=title)
    shown = {name: values for name, values in form.items() if name != "judge"}
    return redirect(request, f"/?{urlencode(shown, doseq=True)}")


async def _find(
    request: Request, asked: Asked, caller: Caller, opened: OpenedRelease, service: Service
) -> Found:
    """Search without the chosen values for the facets, and with them for what is shown."""
    whole = await search.search(request, asked.request(narrowed=False), caller, opened, service)
    answer = whole
    if asked.is_narrowed:
        answer = await search.search(request, asked.request(narrowed=True), caller, opened, service)
    start = (asked.page - 1) * SHOWN
    hits = answer.hits[start : start + SHOWN]
    ids = [hit.document_id for hit in hits]
    said = await service.on_lane(
        opened, lambda lane: judgments_of(lane.connection, caller.identity, asked.q, ids)
    )
    terms = telling_terms(asked.q)
    shown = [
        Shown(
            place,
            hit,
            highlight(hit.title or hit.document_id, terms),
            highlight(hit.snippet, terms),
            _SAID[said.get(hit.document_id)],
        )
        for place, hit in enumerate(hits, start + 1)
    ]
    return Found(answer, shown, facets_of(whole.hits, asked))


def _facets_without(collections: Sequence[Collection], asked: Asked) -> list[Facet]:
    """The facets where nothing was found: all collections, or what is chosen, to be unchosen."""
    return collection_facets(collections, asked.collection) or facets_of((), asked)


async def _collections(opened: OpenedRelease, service: Service) -> list[Collection]:
    return await service.on_lane(opened, lambda lane: read_collections(lane.connection))
