"""The application: middleware, endpoints, and what is opened and closed with it."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from ml_assets.embeddings.encoder import Encoder, load_query_encoder
from ml_assets.service import refusals
from ml_assets.service.answering import Service
from ml_assets.service.following.deployments import Process
from ml_assets.service.guard import Guard, JsonLines
from ml_assets.service.metrics import Metrics
from ml_assets.service.page import documents as document_pages
from ml_assets.service.page import login, releases, searching
from ml_assets.service.page.rendering import ROOM, STATIC, refused_page
from ml_assets.service.routes import answers, documents, feedback, models, search, standing
from ml_assets.service.schemas import Problem
from ml_assets.settings import Settings

_REFUSALS = {
    401: "There is no valid key",
    403: "The key may not do that",
    404: "There is no such thing",
    413: "The request is too large",
    422: "The request cannot be understood",
    429: "Too many requests; Retry-After says when",
    503: "A store does not answer, or there is too much to do; Retry-After says when",
}


def create_app(
    settings: Settings,
    address: str = "",
    metrics: Metrics | None = None,
    load: Callable[[Settings], Encoder] = load_query_encoder,
) -> FastAPI:
    """The application on one deployment; its stores are opened when it starts.

    `address` is where it is reached, as it tells others; `load` gives what encodes.
    """
    counted = metrics or Metrics()
    process = Process(address)
    service = Service(settings, process, counted, load)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        try:
            yield
        finally:
            await run_in_threadpool(service.stop)

    app = FastAPI(
        title="ml-assets",
        summary="What was published answers: search, questions, documents, predictions, features.",
        version=process.version,
        lifespan=lifespan,
        # Their scripts would come from other sites.
        docs_url=None,
        redoc_url=None,
        responses={
            status: {"model": Problem, "description": text} for status, text in _REFUSALS.items()
        },
    )
    app.state.service = service
    refusals.install(app, refused_page)
    if origins := settings.service_origins.split():
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
        )
    app.add_middleware(
        Guard,
        settings=settings,
        metrics=counted,
        as_page=refused_page,
        answered=service.note_answer,
    )
    for part in (search, answers, documents, models, feedback, standing):
        app.include_router(part.router)
    app.include_router(standing.probes)
    for page in (searching, document_pages, releases, login):
        app.include_router(page.router)
    app.mount(STATIC, StaticFiles(directory=ROOM / "static"))
    return app


def log_json() -> None:
    """Write the log of the service to standard error, a line of JSON each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers, root.level = [handler], logging.WARNING
    for name in ("ml_assets", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)
    access = logging.getLogger("uvicorn.access")  # it writes URLs, in which queries stand
    access.handlers, access.propagate = [], False
