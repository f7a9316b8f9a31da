"""Connections: who sends no head of a request, or one without an end, is not waited for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 10.0
"""Between two looks at a connection: with no new request in between it is closed."""

MOST_HEAD = 64 << 10
"""Bytes of a head, about; a proxy sends less."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class SharingLoop(asyncio.SelectorEventLoop):
    """A loop that takes one connection at a time, so that processes of one socket share them.

    Others take all that wait: of 16 clients that come at once one process got 16, and kept them.
    """

    async def create_server(self, *given: Any, backlog: int = 100, **named: Any) -> asyncio.Server:
        """Listen; `backlog` connections may wait for all processes."""
        server = await super().create_server(*given, backlog=1, **named)
        for listening in server.sockets:
            with listening.dup() as shared:
                shared.listen(backlog)
        return server


class BoundedConnection(asyncio.Protocol):
    """HTTP as uvicorn speaks it, with bounds on the time and size of what comes before a request.

    It closes a connection that is kept alive by single bytes, and bounds neither what an answer
    takes nor a body: those are the guard's.
    """

    def __init__(self, **given: Any) -> None:
        """What uvicorn gives a protocol."""
        self._http = cast("Any", AutoHTTPProtocol)(**given)
        self._head = 0  # bytes since the request `_after`
        self._after: object = None
        self._idle_since: object = None

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

    def eof_received(self) -> None:
        """It sends no more."""
        self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._timer.cancel()
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        """It reads more slowly than it is answered."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._http.resume_writing()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._look)

    def _look(self) -> None:
        """Close it if the last request was answered before the last look, or there was none."""
        cycle = self._http.cycle
        if cycle is None or (cycle.response_complete and cycle is self._idle_since):
            self._transport.close()
            return
        self._idle_since = cycle if cycle.response_complete else None
        self._look_later()
