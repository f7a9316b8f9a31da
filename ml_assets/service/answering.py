"""What a process has to answer with: the release it follows, its encoder, its threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Annotated, TypeVar, cast

import psycopg
from fastapi import Depends, Request

from ml_assets.answers.llm import language_model
from ml_assets.embeddings.caching import CachingEncoder
from ml_assets.embeddings.encoder import Encoder, load_query_encoder, runtime_of
from ml_assets.embeddings.space import current_chunker, current_model
from ml_assets.service.admission.rates import Rates
from ml_assets.service.encoding import SharedEncoder
from ml_assets.service.following.deployments import Process
from ml_assets.service.following.follower import Follower, State
from ml_assets.service.following.opened import Lane, OpenedRelease
from ml_assets.service.metrics import Metrics
from ml_assets.service.recording import Recorder
from ml_assets.service.writing import Writing
from ml_assets.settings import Settings, secret
from ml_assets.stores import cache, online, postgres
from ml_assets.stores.cache import ReadThrough

T = TypeVar("T")

_FIRST_LOOK = 20.0
"""Seconds that a start waits for the stores; it goes on without them, and is not ready."""


class Service:
    """One process of the service; `start` and `stop` are called once."""

    def __init__(
        self,
        settings: Settings,
        process: Process,
        metrics: Metrics,
        load: Callable[[Settings], Encoder] = load_query_encoder,
    ) -> None:
        """Describe it; nothing is opened yet."""
        self.settings, self.process, self.metrics = settings, process, metrics
        model = current_model(settings)
        self.space, self.tokenizer_file = model.space, model.tokenizer_file
        self.chunker = current_chunker(settings)
        self.rates = Rates(settings)
        self.refused: dict[tuple[str, str], float] = {}
        self.language_model = language_model(settings)
        self.writing = Writing(settings.answer_requests)
        self.cache = ReadThrough(lambda: cache.connect(secret(settings.cache_url), settings.home))
        self._load = load
        self._caching: CachingEncoder | None = None
        self._lanes = settings.service_lanes
        self._online: SimpleQueue[online.Kept] = SimpleQueue()
        for _ in range(self._lanes):
            self._online.put(online.keep(secret(settings.online_url), settings.home))
        self._follower = Follower(settings, self.space, process, self._lanes, metrics.taken_over)
        self._threads = ThreadPoolExecutor(self._lanes, "lane")

    @property
    def state(self) -> State:
        """What the thread that follows the releases last saw."""
        return self._follower.state

    def start(self) -> None:
        """Open everything, or as much of it as answers."""
        self.encoder = SharedEncoder(self._load_cached, self.space, self._keep_encoded)
        self.recorder = Recorder(
            self.settings, self.process, self.metrics, lambda: self.state.release_id
        )
        self._follower.start(_FIRST_LOOK)

    def stop(self) -> None:
        """Let what has begun end, and close everything."""
        self._threads.shutdown()
        self._follower.stop()
        self.encoder.close()
        self.recorder.close()
        self.rates.close()
        self.cache.close()
        while not self._online.empty():
            self._online.get().close()

    def note_answer(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered, for the minutes that are kept."""
        self.recorder.answered(route, status, seconds)

    def note_texts(self, request: Request, texts: Sequence[str]) -> None:
        """Put what was asked into the log line of a request, where the settings want that."""
        if self.settings.service_log_texts:
            request.state.noted["texts"] = list(texts)

    async def on_lane(self, opened: OpenedRelease, function: Callable[[Lane], T]) -> T:
        """Call a function on a lane of a release, in a thread; once more if its connection broke.

        Raises:
            OutageError: no lane works.
        """
        deadline = time.monotonic() + self.settings.service_timeout

        def call() -> T:
            while True:
                with opened.lane(deadline - time.monotonic()) as lane:
                    try:
                        return function(lane)
                    except psycopg.OperationalError:
                        # What only reads may be asked again; the next lane is another one.
                        if not lane.connection.broken or not opened.alive > 1:
                            raise

        return await self.in_thread(call)

    async def on_primary(self, function: Callable[[postgres.Connection], T]) -> T:
        """Call a function that writes on a connection of its own, in a thread.

        Raises:
            StoreError: PostgreSQL does not answer, or the role may not write.
        """

        def call() -> T:
            url = secret(self.settings.postgres_url)
            with postgres.connect(url, self.settings.home) as connection:
                return function(connection)

        return await self.in_thread(call)

    def read_online(self, view: str, entities: Sequence[str]) -> online.Reading:
        """The latest online values of entities; each lane has the store opened once.

        Raises:
            StoreError: it cannot be used.
        """
        kept = self._online.get()
        try:
            with kept.reading() as store:
                return store.get_many(view, entities)
        finally:
            self._online.put(kept)

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Call a function that waits for stores, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _load_cached(self) -> Encoder:
        settings = self.settings
        encoder = self._load(settings)
        self._caching = CachingEncoder(
            encoder.space,
            lambda: encoder,
            self.cache,
            settings.query_cache_seconds,
            f"{runtime_of(settings, encoder)} together",
            at_once=False,
        )
        return self._caching

    def _keep_encoded(self) -> None:
        if self._caching:
            self._caching.keep()


async def the_service(request: Request) -> Service:
    """The service of the application that is asked. Async: FastAPI calls others in a thread."""
    return cast("Service", request.app.state.service)


async def _pinned(
    request: Request, service: Annotated[Service, Depends(the_service)]
) -> AsyncIterator[OpenedRelease]:
    with service.state.release() as opened:
        request.state.noted["release"] = opened.served.release_id
        yield opened


TheService = Annotated[Service, Depends(the_service)]
Pinned = Annotated[OpenedRelease, Depends(_pinned)]
"""The release that a request is answered from, from its beginning to its end."""
