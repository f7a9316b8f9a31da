"""What is served and which gates it passed, and two generations beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ml_assets.registry.decisions import last_decision, read_gates
from ml_assets.registry.model import ModelVersion
from ml_assets.registry.versions import read_version
from ml_assets.releases.audit import read_subjects
from ml_assets.releases.gates import Gate
from ml_assets.releases.pointer import Parts, Release, list_releases
from ml_assets.search.answering.engine import open_engine, search_vector
from ml_assets.search.answering.model import Hit, Method
from ml_assets.search.generation import kept_generation
from ml_assets.search.model import Vector
from ml_assets.search.publishing.listing import ListedGeneration
from ml_assets.search.publishing.quality import subject
from ml_assets.service.answering import Pinned, Service, TheService
from ml_assets.service.following.opened import Lane, OpenedRelease
from ml_assets.service.page.asked import Text
from ml_assets.service.page.lineage import readable_generations
from ml_assets.service.page.rendering import render
from ml_assets.service.page.visiting import Visitor
from ml_assets.service.routes import standing
from ml_assets.stores import postgres

router = APIRouter(include_in_schema=False)

_COMPARED = 10
_RELEASES = 12

Identity = Annotated[str, Query(pattern=r"^([0-9a-f]{16})?$")]


@dataclass(frozen=True, slots=True)
class Standing:
    """The parts of a release, with the gates that each was let through."""

    releases: Sequence[Release]
    generation: ListedGeneration | None
    search_gates: Sequence[Gate]
    model: ModelVersion | None
    model_gates: Sequence[Gate]


@dataclass(frozen=True, slots=True)
class Side:
    """What one generation answers; by its words alone where its vectors are of another space."""

    generation: ListedGeneration
    hits: Sequence[Hit] = ()
    method: Method = "hybrid"
    places: Mapping[str, int] = field(default_factory=dict)


@router.get("/release")
async def release_page(
    request: Request, caller: Visitor, opened: Pinned, service: TheService
) -> Response:
    """The release that answers, its gates, the ones before, and the processes."""
    answer = await standing.release(caller, opened, service)
    release = opened.served.release
    parts = release.parts if release else Parts()

    def read(lane: Lane) -> Standing:
        connection = lane.connection
        generations = readable_generations(connection, service.settings)
        return Standing(
            list_releases(connection)[:_RELEASES],
            next((each for each in generations if each.generation_id == parts.generation_id), None),
            _search_gates(connection, parts.generation_id),
            *_model_and_gates(connection, parts.model_version),
        )

    return render(
        request,
        "release.html",
        answer=answer,
        release=release,
        standing=await service.on_lane(opened, read),
    )


@router.get("/compare")
async def compare_page(
    request: Request,
    _: Visitor,
    opened: Pinned,
    service: TheService,
    q: Annotated[Text, Query()] = "",
    left: Identity = "",
    right: Identity = "",
) -> Response:
    """One query, answered by two generations that have their indexes."""
    generations = await service.on_lane(
        opened, lambda lane: readable_generations(lane.connection, service.settings)
    )
    by_id = {generation.generation_id: generation for generation in generations}
    pair = [by_id.get(left), by_id.get(right)]
    defaults = iter(each for each in generations if each not in pair)
    chosen = [each or next(defaults, None) for each in pair]
    sides: list[Side] = []
    if q.strip() and None not in chosen:
        service.note_texts(request, [q])
        sides = await _compare(q, [each for each in chosen if each], opened, service)
    return render(request, "compare.html", q=q, generations=generations, chosen=chosen, sides=sides)


async def _compare(
    query: str, chosen: Sequence[ListedGeneration], opened: OpenedRelease, service: Service
) -> list[Side]:
    encoding = service.encoder.submit([query], queries=True)
    vector = (await asyncio.wrap_future(encoding))[0]

    def answer(lane: Lane) -> list[Side]:
        return [_side(lane, each, query, vector, opened, service) for each in chosen]

    left, right = await service.on_lane(opened, answer)
    return [_with_places(left, right), _with_places(right, left)]


def _side(
    lane: Lane,
    listed: ListedGeneration,
    query: str,
    vector: Vector,
    opened: OpenedRelease,
    service: Service,
) -> Side:
    method: Method = "hybrid" if listed.space_id == service.space.space_id else "keyword"
    generation = kept_generation(lane.connection, listed.generation_id)
    with open_engine(lane.connection, opened.indexes, generation) as engine:
        result = search_vector(engine, query, vector, k=_COMPARED, method=method)
    return Side(listed, result.hits, method)


def _with_places(side: Side, other: Side) -> Side:
    """A side with the places that its documents have on the other one."""
    places = {hit.document_id: place for place, hit in enumerate(other.hits, 1)}
    return Side(side.generation, side.hits, side.method, places)


def _search_gates(connection: postgres.Connection, identity: str | None) -> list[Gate]:
    name = subject(identity or "")
    published = [
        entry
        for entry in read_subjects(connection, name)
        if entry.subject == name and entry.action in ("publish", "tune")
    ]
    return read_gates(published[-1]) if published else []


def _model_and_gates(
    connection: postgres.Connection, number: int | None
) -> tuple[ModelVersion | None, list[Gate]]:
    version = None if number is None else read_version(connection, number)
    decided = last_decision(connection, version) if version else None
    return version, read_gates(decided) if decided else []
