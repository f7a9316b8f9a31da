"""What stands before every request: its id, bounds on its size, time and number, its log line."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, MutableMapping
from typing import Any
from uuid import uuid4

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_assets.monitoring.truth import REQUEST_ID
from ml_assets.service.metrics import Metrics
from ml_assets.service.schemas import AGAIN, LESS, RETRY_SECONDS, AsPage, Problem, Refusal
from ml_assets.settings import Settings

ALWAYS = frozenset({"/health", "/ready", "/metrics"})
"""Answered however much there is to do: they wait for no store."""

Answered = Callable[[str, int, float], None]
"""Is told the route, the status and the seconds of an answer."""

WRITTEN = "/v1/answer"
"""What a language model may write, which takes its own time."""

_DIGITS = 20
"""Of a length; one of more is too large by these alone."""

_ID = re.compile(REQUEST_ID)
_LOCAL = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")

log = logging.getLogger(__name__)


class TooLargeError(HTTPException):
    """The body of a request is larger than it may be; what reads bodies lets this kind through."""


class Guard:
    """An ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        metrics: Metrics,
        as_page: AsPage,
        answered: Answered = lambda route, status, seconds: None,
    ) -> None:
        """Nobody is inside yet; `as_page` tells people what is refused.

        `answered` is told of each request that is not a probe.
        """
        self._app, self._settings, self._metrics = app, settings, metrics
        self._as_page, self._answered = as_page, answered
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the server leaves out the body
        visit = _Visit(scope, send, self._as_page)
        counts = scope["path"] not in ALWAYS
        self._inside += counts
        try:
            if counts and self._inside > self._settings.service_requests:
                self._metrics.refused("busy")
                await visit.refuse(503, "busy", "there is too much to do", AGAIN, RETRY_SECONDS)
            elif visit.length() > self._settings.service_body:
                await visit.refuse(413, "too_large", self._most(), LESS)
            else:
                await self._pass(visit, scope, receive)
        finally:
            self._inside -= counts
            self._write_down(visit)

    async def _pass(self, visit: _Visit, scope: Scope, receive: Receive) -> None:
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._settings.service_body:
                raise TooLargeError(413, self._most())
            return message

        try:
            async with asyncio.timeout(self._seconds(scope)):
                await self._app(scope, bounded, visit.send)
        except TimeoutError:
            self._metrics.refused("late")
            await visit.refuse(503, "late", "it took too long", AGAIN, RETRY_SECONDS)
        except Exception:  # the client is told nothing of it, the log all
            log.exception("a defect", extra={"request_id": visit.request_id})
            do = "See its log, under this request_id"
            await visit.refuse(500, "defect", "the service failed", do)

    def _seconds(self, scope: Scope) -> float:
        settings = self._settings
        written = settings.answer_timeout if scope["path"] == WRITTEN else 0
        return settings.service_timeout + written

    def _most(self) -> str:
        return f"a request has at most {int(self._settings.service_body):,} bytes"

    def _write_down(self, visit: _Visit) -> None:
        seconds = time.perf_counter() - visit.started
        route = visit.route()
        self._metrics.answered(visit.method, route, visit.status, seconds)
        if route in ALWAYS:
            return
        self._answered(route, visit.status, seconds)
        line = {
            "request_id": visit.request_id,
            "method": visit.method,
            "route": route,
            "status": visit.status,
            "ms": round(seconds * 1000, 2),
            **visit.noted,
        }
        log.info("request", extra=line)


class _Visit:
    """One request, from its first byte to the last one of its answer."""

    def __init__(self, scope: Scope, send: Send, as_page: AsPage) -> None:
        self.started = time.perf_counter()
        self.scope, self.method, self.status = scope, scope["method"], 0
        self._send, self._as_page = send, as_page
        given = _header(scope, b"x-request-id")
        self.request_id = given if _ID.fullmatch(given) else uuid4().hex
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = self.request_id
        self.noted: dict[str, Any] = {}
        state["noted"] = self.noted

    def length(self) -> int:
        given = _header(self.scope, b"content-length")
        # Python reads no number of thousands of digits; what is no number, the server refuses.
        return int(given[:_DIGITS]) if given.isdecimal() else 0

    def route(self) -> str:
        """The path as it was declared: what stands in one can be of anybody."""
        route = self.scope.get("route")
        return str(getattr(route, "path", "")) or "unknown"

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", []),
                (b"x-request-id", self.request_id.encode()),
            ]
        await self._send(message)

    async def refuse(self, status: int, code: str, message: str, do: str, retry: int = 0) -> None:
        if self.status:  # it began to answer: the client sees that it was cut short
            return
        refusal = Refusal(code=code, message=message, do=do, request_id=self.request_id)
        answer = self._as_page(self.scope, status, refusal)
        answer = answer or JSONResponse(Problem(error=refusal).model_dump(), status)
        if retry:
            answer.headers["Retry-After"] = str(retry)
        await answer(self.scope, _hear_nothing, self.send)


async def _hear_nothing() -> Message:
    return {"type": "http.disconnect"}


def is_local(host: str) -> bool:
    """Whether a Host header names this machine: a page of another site cannot pretend to."""
    return bool(_LOCAL.fullmatch(host))


class JsonLines(logging.Formatter):
    """One line of JSON for each record, with what was given as `extra`."""

    _known = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line."""
        more = {name: value for name, value in vars(record).items() if name not in self._known}
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **more,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _header(scope: Scope, name: bytes) -> str:
    return next((value for key, value in scope["headers"] if key == name), b"").decode("latin-1")
