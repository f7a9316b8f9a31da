"""Connections: who sends no head of a request, or one without an end, is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 10.0
"""Between two looks at a connection: with half a head and no new request in between it is closed.
"""

IDLE_SECONDS = 75
"""A proxy keeps connections for 60, and one that it was just asking on must not be closed."""

MOST_HEAD = 64 << 10
"""Bytes of a head, about; a proxy sends less."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedConnection(asyncio.Protocol):
    """HTTP as uvicorn speaks it, with bounds on the time and size of what comes before a request.

    It closes a connection that is kept alive by single bytes; one without any is uvicorn's to end.
    It bounds neither what an answer takes nor a body: those are the guard's.
    """

    def __init__(self, **given: Any) -> None:
        """What uvicorn gives a protocol."""
        self._http = cast("Any", AutoHTTPProtocol)(**given)
        self._head = 0  # bytes since the request `_after`
        self._after: object = None
        self._begun = False  # bytes have come that belong to no request yet
        self._begun_since: object = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._transport = cast("asyncio.Transport", transport)
        self._http.connection_made(transport)
        self._look_later()

    def data_received(self, data: bytes) -> None:
        """It sends something."""
        cycle = self._http.cycle
        if cycle is not self._after:
            self._head, self._after = 0, cycle
        if cycle is None or not cycle.more_body:
            if self._head > MOST_HEAD:
                if cycle is None or cycle.response_complete:
                    self._transport.write(_TOO_LARGE)
                self._transport.close()
                return
            self._head += len(data)
        self._http.data_received(data)
        self._begun = self._http.cycle is cycle and (cycle is None or cycle.response_complete)

    def eof_received(self) -> None:
        """It sends no more."""
        self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._timer.cancel()
        self._http.connection_lost(exc)
        # Of one that broke uvicorn lets it run on, and keeps the last request for as long.
        if timer := self._http.timeout_keep_alive_task:
            timer.cancel()

    def pause_writing(self) -> None:
        """It reads more slowly than it is answered."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._http.resume_writing()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._look)

    def _look(self) -> None:
        """Close it if the head that was begun before the last look is not whole, or none was."""
        cycle = self._http.cycle
        if cycle is None or (self._begun and cycle is self._begun_since):
            self._transport.close()
            return
        self._begun_since = cycle if self._begun else None
        self._look_later()


BOUNDS: Mapping[str, Any] = {
    "http": BoundedConnection,
    "h11_max_incomplete_event_size": MOST_HEAD,
    "timeout_keep_alive": IDLE_SECONDS,
}
"""How uvicorn is told of them."""
