"""The page of a document, and what the champion says of a text."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ml_assets.errors import NothingToDoError, SourceError
from ml_assets.service.answering import Pinned, TheService
from ml_assets.service.following.opened import Lane
from ml_assets.service.page.lineage import Lineage, lineage_of
from ml_assets.service.page.rendering import render
from ml_assets.service.page.visiting import Form, Visitor, field
from ml_assets.service.routes import documents, models, search
from ml_assets.service.schemas import MOST_CHARACTERS, PredictRequest, SearchAnswer, SimilarRequest

router = APIRouter(include_in_schema=False)

PART = 40_000
"""Characters of a text that are shown at a time."""

_SIMILAR = 6

Id = Annotated[str, Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


@router.get("/document")
async def document_page(
    request: Request,
    id: Id,  # noqa: A002 - as the URL has it
    caller: Visitor,
    opened: Pinned,
    service: TheService,
    part: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """A document: its text, a part at a time, what is near it, its history and its lineage."""
    answer = await documents.document(id, caller, opened, service)
    document = answer.document
    history = [change.model_dump() for change in answer.history]

    def trace(lane: Lane) -> Lineage:
        return lineage_of(lane.connection, service.settings, document, history)

    similar: SearchAnswer | None = None
    if opened.served.generation:
        try:
            asked = SimilarRequest(k=_SIMILAR)
            similar = await search.similar_documents(id, asked, caller, opened, service)
        except NothingToDoError:  # it waits to be embedded
            similar = None
    parts = max(1, -(-len(document.text) // PART))
    if part > parts:
        raise NothingToDoError(f"the text has {parts} parts", do="Open the document itself")
    return render(
        request,
        "document.html",
        document=document,
        text=document.text[(part - 1) * PART : part * PART],
        part=part,
        parts=parts,
        history=answer.history,
        similar=similar.hits if similar else (),
        lineage=await service.on_lane(opened, trace),
    )


@router.get("/predict")
async def predict_page(request: Request, _: Visitor, opened: Pinned) -> Response:
    """Ask for a text."""
    return render(request, "predict.html", **_predicting(opened.model is not None))


@router.post("/predict")
async def predict(
    request: Request, form: Form, caller: Visitor, opened: Pinned, service: TheService
) -> Response:
    """What the champion says of a text, with the probability of every label."""
    text = field(form, "text")
    shown = _predicting(opened.model is not None) | {"text": text}
    if not text.strip() or len(text) > MOST_CHARACTERS:
        shown["problem"] = f"Give a text of at most {MOST_CHARACTERS:,} characters."
        return render(request, "predict.html", 422, **shown)
    try:
        answer = await models.predict(
            request, PredictRequest(texts=[text]), caller, opened, service
        )
    except SourceError as error:
        return render(request, "predict.html", 422, **shown | {"problem": error.what})
    return render(request, "predict.html", **shown | {"answer": answer})


def _predicting(there_is_a_model: bool) -> dict[str, Any]:
    return {"text": "", "problem": "", "answer": None, "there_is_a_model": there_is_a_model}
