"""A server of embeddings over HTTP, as OpenAI's and all that speak like it: asked, and asked again.

Rate limits and outages are waited for; what no second try can mend is one line with the next step.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from ml_assets.errors import OutageError, SettingError, UserError, first_line
from ml_assets.settings import Settings, secret
from ml_assets.stores.web import asked_pause, shown_url, target_url, told

if TYPE_CHECKING:
    import httpx
    import numpy as np
    from numpy.typing import NDArray
    from tenacity import RetryCallState

T = TypeVar("T")

PREFIX = "openai:"
"""What the setting of a remote model begins with."""

TRIES = 8
"""So often a request is sent, at most; those that a rate limit turned away are not counted."""

PATIENCE = 300.0
"""Seconds that a request is tried again for, and the longest wait that a server can ask for."""

MOST_TEXTS = 2048
"""Texts of a request, at most: OpenAI's limit."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between tries, where the server names none: drawn from zero to a bound that doubles."""

_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Answers after which the same request may succeed."""

_TOO_MUCH = {400, 413, 422}
"""Answers to a request that could be too large; each server has its own."""


class RefusedError(UserError):
    """The server refuses these texts; fewer, or shorter ones, it may take."""


class _AgainError(Exception):
    """The same request may succeed, after `seconds` if the server named them."""

    def __init__(self, reason: str, seconds: float | None = None, *, limited: bool = False) -> None:
        super().__init__(reason)
        self.seconds, self.limited = seconds, limited


@dataclass(frozen=True)
class Answer:
    """Vectors of shape (texts, dimension), as they came, and the tokens that the server counted."""

    vectors: NDArray[np.float32]
    tokens: int | None


@dataclass(frozen=True)
class Endpoint:
    """Which server, which model, and how long to wait for an answer.

    `place` is the URL without credentials and without a query: part of what a vector depends on.
    `input_types`: what the server is told of queries and of texts; empty, it is told nothing.
    """

    url: str = field(repr=False)
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    input_types: tuple[str, str] = ("", "")

    @property
    def place(self) -> str:
        """The URL to show and to remember."""
        return shown_url(self.url, "/embeddings")

    @property
    def target(self) -> str:
        """Where requests go."""
        return target_url(self.url, "/embeddings")


def endpoint_of(settings: Settings) -> Endpoint | None:
    """The server of the model that the settings name; None: a model of this machine."""
    if not settings.embedding_model.startswith(PREFIX):
        return None
    name = settings.embedding_model.removeprefix(PREFIX).strip()
    if not name:
        raise SettingError(
            f"{PREFIX!r} is followed by no model",
            where="ML_ASSETS_EMBEDDING_MODEL",
            do=f"Set it to {PREFIX}text-embedding-3-small, or another that the server knows",
        )
    key, url = secret(settings.embedding_key), settings.embedding_url.get_secret_value()
    of_queries, _, of_texts = settings.embedding_input_types.partition(",")
    return Endpoint(url, name, key, settings.embedding_timeout, (of_queries, of_texts))


def discover_dimension(endpoint: Endpoint) -> int:
    """How many numbers the vectors of the model have: one word is sent.

    Raises:
        UserError: as `Connection.embed`.
    """
    connection = connect(endpoint)
    work = connection.embed(["dimension"], endpoint.input_types[1])
    answer = connection.start(work).result()
    return int(answer.vectors.shape[1])


class Connection:
    """Kept-alive connections to an endpoint, in an event loop that a thread of their own runs.

    All requests wait while the server asks for a pause. `most_texts`: of a request, at most; a
    server that takes fewer says so by refusing.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Start the thread; nothing is sent yet."""
        import httpx

        self.endpoint = endpoint
        self.most_texts = MOST_TEXTS
        self._resume = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        # The bounded queue decides how many requests there are, not the pool.
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.AsyncClient(
            headers=headers, timeout=endpoint.timeout, limits=limits, follow_redirects=False
        )

    async def embed(self, texts: Sequence[str], input_type: str = "") -> Answer:
        """The vectors of `texts`, which are one request; tried again while that may help.

        Raises:
            RefusedError: the server does not take these texts.
            SettingError: it does not take the key, or knows no such model.
            OutageError: it does not answer.
            UserError: the account has nothing left, or the answer holds no vectors.
        """
        from tenacity import AsyncRetrying, retry_if_exception_type

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_AgainError),
            stop=_tried_enough,
            wait=_pause,
            reraise=True,
        )
        try:
            answer: Answer = await retrying(self._ask, texts, input_type)
        except _AgainError as error:
            do = "Check that the server runs and ML_ASSETS_EMBEDDING_URL, or run again later"
            raise OutageError(str(error), where=self.endpoint.place, do=do) from None
        return answer

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin to work in the event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Close what is open, and end the thread."""
        self.start(self._client.aclose()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _ask(self, texts: Sequence[str], input_type: str) -> Answer:
        import httpx

        while (wait := self._resume - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "input": list(texts),
            "encoding_format": "float",
        }
        if input_type:
            body["input_type"] = input_type
        try:
            response = await self._client.post(self.endpoint.target, json=body)
        except httpx.TimeoutException:
            raise _AgainError(f"no answer within {self.endpoint.timeout:g} s") from None
        except httpx.TransportError as error:
            raise _AgainError(self._masked(first_line(error))) from None
        if response.status_code != HTTPStatus.OK:
            raise self._refusal(response, len(texts))
        try:
            return _read(response.json(), len(texts))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            message = f"its answer holds no vectors ({self._masked(first_line(error))})"
            do = "Check that ML_ASSETS_EMBEDDING_URL and ML_ASSETS_EMBEDDING_MODEL give embeddings"
            raise UserError(message, where=self.endpoint.place, do=do) from None

    def _refusal(self, response: httpx.Response, texts: int) -> Exception:
        """What the answer of a request that failed says, as an error to raise."""
        status, (message, code) = response.status_code, told(response)
        what, place = f"{status}, {self._masked(message)}", self.endpoint.place
        if code == "insufficient_quota" or status == HTTPStatus.PAYMENT_REQUIRED:
            do = "Top up the account, then run again: what was paid for is kept"
            return UserError(what, where=place, do=do)
        if status in _PASSING:
            seconds = asked_pause(response)
            if seconds is not None and seconds > PATIENCE:
                do = "Run again after that: what was paid for is kept"
                return UserError(f"{what}; it asks to wait {seconds:.0f} s", where=place, do=do)
            if seconds is not None:
                self._resume = max(self._resume, time.monotonic() + seconds)
            return _AgainError(what, seconds, limited=status == HTTPStatus.TOO_MANY_REQUESTS)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            do = "Set it to a key of this server" if self.endpoint.key else "Set it"
            return SettingError(f"{place}: {what}", where="ML_ASSETS_EMBEDDING_KEY", do=do)
        if status in _TOO_MUCH:
            counted = f"{texts} texts are refused" if texts > 1 else "a text is refused"
            do = (
                "Check ML_ASSETS_EMBEDDING_MODEL; for a text that is too long, set"
                " ML_ASSETS_EMBEDDING_TOKENIZER to the model's own, or lower"
                " ML_ASSETS_EMBEDDING_MAX_TOKENS and ML_ASSETS_CHUNK_TOKENS"
            )
            return RefusedError(f"{counted}: {what}", where=place, do=do)
        do = f"Check ML_ASSETS_EMBEDDING_URL, and that it serves the model {self.endpoint.model}"
        return SettingError(what, where=place, do=do)

    def _masked(self, message: str) -> str:
        """A message without the key: servers repeat it."""
        key = self.endpoint.key
        return message.replace(key, "***") if key else message


_CONNECTIONS: dict[tuple[Endpoint, int], Connection] = {}
"""Of each process by its number: a fork has no threads."""


def connect(endpoint: Endpoint) -> Connection:
    """The connection of this process to an endpoint, opened at the first use."""
    place = (endpoint, os.getpid())
    if place not in _CONNECTIONS:
        _CONNECTIONS[place] = Connection(endpoint)
    return _CONNECTIONS[place]


@atexit.register
def close_connections() -> None:
    """Close all connections of this process; what asks again opens new ones."""
    for place in [place for place in _CONNECTIONS if place[1] == os.getpid()]:
        _CONNECTIONS.pop(place).close()


def _tried_enough(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    too_often = state.attempt_number >= TRIES and not getattr(error, "limited", False)
    return too_often or (state.seconds_since_start or 0) + state.upcoming_sleep > PATIENCE


def _pause(state: RetryCallState) -> float:
    """Seconds until the next try: what the server asked for, or a random part of a growing bound.

    Either with jitter, so that requests which failed together do not come back together.
    """
    from tenacity import wait_random, wait_random_exponential

    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _AgainError) and error.seconds is not None:
        return error.seconds + wait_random(0, FIRST_PAUSE)(state)
    return wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)(state)


def _read(body: Any, texts: int) -> Answer:
    """Vectors in the order of the texts, whatever order they came in."""
    import numpy as np

    rows = body["data"]
    if len(rows) != texts:
        raise ValueError(f"{len(rows)} vectors for {texts} texts")
    rows = sorted(rows, key=lambda row: row.get("index", 0))
    vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise ValueError("a vector is empty, or holds what is no number")
    if not vectors.any(axis=1).all():
        raise ValueError("a vector holds only zeros")
    usage = body.get("usage") or {}
    tokens = usage.get("prompt_tokens") or usage.get("total_tokens")
    return Answer(vectors, int(tokens) if tokens else None)
