"""Answers to questions: whole, or sentence by sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import TypeAdapter

from ml_assets.answers.answering import gather, respond
from ml_assets.answers.llm import LanguageModel, LanguageModelError
from ml_assets.answers.model import Answer, Sentence
from ml_assets.service.access import Reader
from ml_assets.service.answering import Pinned, Service, TheService
from ml_assets.service.refusals import RefusedError, problem_of
from ml_assets.service.routes import PREFIX
from ml_assets.service.routes.search import find
from ml_assets.service.schemas import QuestionAnswer, QuestionRequest, SearchRequest

router = APIRouter(prefix=PREFIX, tags=["search"])

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""So that no proxy keeps sentences back."""

_RETRY_SECONDS = 5
_SENTENCE = TypeAdapter(Sentence)


@router.post(
    "/answer",
    response_model=QuestionAnswer,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def answer(
    request: Request, asked: QuestionRequest, _: Reader, opened: Pinned, service: TheService
) -> QuestionAnswer | Response:
    """Answer a question from passages of the published generation, each sentence with citations.

    Without a language model (LLM_URL) the passages themselves are the answer. A question that
    nothing found is relevant to is not answered: its `kind` is "refused".
    """
    service.note_texts(request, [asked.question])
    result = await find(_search_of(asked), opened, service)
    grounds = gather(asked.question, result, service.settings)
    model = None if asked.extractive else service.language_model
    parts = _parts(respond(grounds, model, service.settings), model, service)
    with _refused_plainly(request):
        first = await anext(parts)  # until here an error has a status of its own
    release = opened.served.release_id
    if asked.stream:
        events = _events(request, first, parts, release)
        return StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)
    with _refused_plainly(request):
        last = [part async for part in _both(first, parts)][-1]  # to its end: the next may begin
    if isinstance(last, Answer):
        return _answer(request, last, release)
    raise AssertionError("the last part is the answer")


def _search_of(asked: QuestionRequest) -> SearchRequest:
    given = asked.model_dump(exclude={"question", "extractive", "stream"})
    return SearchRequest(query=asked.question, **given)


async def _parts(
    parts: Iterator[Sentence | Answer], model: LanguageModel | None, service: Service
) -> AsyncIterator[Sentence | Answer]:
    if model is None:  # what is there already
        for part in parts:
            yield part
        return
    async for part in service.writing.parts(parts):
        yield part


async def _both(
    first: Sentence | Answer, others: AsyncIterator[Sentence | Answer]
) -> AsyncIterator[Sentence | Answer]:
    yield first
    async for part in others:
        yield part


async def _events(
    request: Request,
    first: Sentence | Answer,
    others: AsyncIterator[Sentence | Answer],
    release: int | None,
) -> AsyncIterator[bytes]:
    """An event `sentence` for each, and `answer` at the end, or `error`."""
    try:
        with _refused_plainly(request):
            async for part in _both(first, others):
                if isinstance(part, Answer):
                    whole = _answer(request, part, release).model_dump_json()
                    yield format_sse_event(event="answer", data_str=whole)
                else:
                    text = _SENTENCE.dump_json(part).decode()
                    yield format_sse_event(event="sentence", data_str=text)
    except RefusedError as refused:
        problem = problem_of(request, refused).model_dump_json()
        yield format_sse_event(event="error", data_str=problem)


@contextmanager
def _refused_plainly(request: Request) -> Iterator[None]:
    """What a language model fails with is for the log: who asks cannot mend it."""
    try:
        yield
    except LanguageModelError as error:
        request.state.noted["reason"] = error.reason
        raise RefusedError(
            503,
            "unavailable",
            "the language model does not answer",
            do="Try again, or ask for passages alone (extractive)",
            retry=_RETRY_SECONDS,
        ) from None


def _answer(request: Request, part: Answer, release: int | None) -> QuestionAnswer:
    request.state.noted["kind"] = part.kind
    return QuestionAnswer(release=release, text=part.text, **asdict(part))
