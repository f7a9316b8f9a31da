"""Connections that send too little, too slowly or too much before a request."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn

from ml_assets.service import server
from ml_assets.service.admission import connections
from ml_assets.service.admission.connections import (
    BOUNDS,
    IDLE_SECONDS,
    MOST_HEAD,
    BoundedConnection,
)
from ml_assets.service.mcp import server as mcp
from ml_assets.settings import Settings
from ml_assets_tests.servers import free_port
from ml_assets_tests.service.deployed import soon

SECONDS, SLOW = 0.2, 2.0
ASK = b"GET /%b HTTP/1.1\r\nHost: here\r\n\r\n"


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Answers when it has read the body; at /slow after a while."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(SLOW)
    while scope["path"] != "/refuse" and (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(params=["httptools", "h11"])
def _protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip(f"uvicorn.protocols.http.{request.param}_impl")
    names = {"httptools": "HttpToolsProtocol", "h11": "H11Protocol"}
    monkeypatch.setattr(connections, "AutoHTTPProtocol", getattr(module, names[request.param]))


@pytest.fixture
def hasty(_protocol: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that soon looks again."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", SECONDS)
    with serving() as opened:
        yield opened


@pytest.fixture
def port(_protocol: None) -> Iterator[int]:
    with serving() as opened:
        yield opened


@contextmanager
def serving() -> Iterator[int]:
    opened = free_port()
    config = uvicorn.Config(
        answering,
        port=opened,
        **BOUNDS,
        log_config=None,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    soon(lambda: server.started, 30)
    try:
        yield opened
    finally:
        server.should_exit = True
        thread.join()


def answer(client: socket.socket) -> bytes:
    """One answer, in as many pieces as it comes; what came of it if the server hangs up."""
    given = b""
    while not given.endswith(b"\r\n\r\nok") and (piece := client.recv(1000)):
        given += piece
    return given


def connected(port: int) -> closing[socket.socket]:
    return closing(socket.create_connection(("127.0.0.1", port), timeout=10))


def rest(client: socket.socket) -> bytes:
    """What is sent until it is closed."""
    received = b""
    try:
        while part := client.recv(65536):
            received += part
    except ConnectionError:
        pass
    return received


def trickle(client: socket.socket) -> bytes:
    """Send a byte now and then for as long as it is heard, and return what is answered."""
    try:
        for _ in range(200):
            client.sendall(b"x")
            time.sleep(SECONDS / 10)
    except ConnectionError:
        return rest(client)
    raise AssertionError("it is heard for ever")


def test_the_service_and_its_tools_listen_within_these_bounds(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Mapping[str, Any]] = []

    class Listening:
        def __init__(self, config: uvicorn.Config) -> None:
            told.append(vars(config))

        def run(self) -> None:
            pass

    monkeypatch.setattr(uvicorn, "Server", Listening)
    monkeypatch.setattr(uvicorn, "run", lambda _, **given: told.append(given))
    for module in (server, mcp):
        monkeypatch.setattr(module, "refuse_open_door", lambda *_: None)
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)
    monkeypatch.setattr(mcp, "_prepare", lambda: None)
    server.serve(settings, "127.0.0.1", 0, 1, print)
    mcp.serve_http(cast("Any", nullcontext()), settings, "127.0.0.1", 0)
    for given in told:
        assert {name: given[name] for name in BOUNDS} == BOUNDS
        assert (given["access_log"], given["server_header"]) == (False, False)
    assert len(told) == 2


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: he"])
def test_a_head_that_does_not_come_is_not_waited_for(hasty: int, head: bytes) -> None:
    with connected(hasty) as client:
        client.sendall(head)
        assert rest(client) == b""
    with connected(hasty) as client:
        client.sendall(head or b"GET ")
        assert trickle(client) == b""


@pytest.mark.parametrize(
    "asked", [ASK % b"", b"POST /refuse HTTP/1.1\r\nHost: here\r\nContent-Length: 99999\r\n\r\n"]
)
def test_a_connection_that_single_bytes_keep_alive_ends(hasty: int, asked: bytes) -> None:
    with connected(hasty) as client:
        client.sendall(asked)
        assert answer(client).startswith(b"HTTP/1.1 200")
        trickle(client)


def test_a_connection_is_kept_for_longer_than_a_proxy_keeps_it(hasty: int) -> None:
    """It would ask on one that is just being closed, and tell its client 502."""
    assert IDLE_SECONDS > 60
    with connected(hasty) as client:
        for _ in range(2):
            client.sendall(ASK % b"")
            assert answer(client).endswith(b"ok")
            time.sleep(5 * SECONDS)
        client.sendall(ASK % b"")
        assert answer(client).endswith(b"ok")


def test_a_head_that_was_just_begun_has_until_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[bool] = []
    answered = SimpleNamespace(response_complete=True, more_body=False)
    http = SimpleNamespace(cycle=answered, data_received=lambda _: None)
    monkeypatch.setattr(connections, "AutoHTTPProtocol", lambda: http)
    monkeypatch.setattr(BoundedConnection, "_look_later", lambda _: None)
    connection = BoundedConnection()
    connection._transport = cast("Any", SimpleNamespace(close=lambda: closed.append(True)))
    for _ in range(3):
        connection._look()
    connection.data_received(b"GET /")
    connection._look()
    assert not closed
    connection._look()
    assert closed


def test_nothing_is_kept_of_a_connection_that_broke(port: int) -> None:
    kind = connections.AutoHTTPProtocol

    def kept() -> int:
        return sum(type(each) is kind for each in gc.get_objects())

    with connected(port) as client:
        client.sendall(ASK % b"")
        assert answer(client).endswith(b"ok")
        assert kept() == 1
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    soon(lambda: gc.collect() >= 0 and not kept())


@pytest.mark.usefixtures("_protocol")
def test_who_asks_and_is_answered_slowly_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", SLOW / 2.5)  # it is looked at twice
    with serving() as patient, connected(patient) as client:
        client.sendall(ASK % b"slow")
        assert answer(client).endswith(b"ok")
        client.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\n")
        for _ in range(4):
            time.sleep(0.5)
            client.sendall(b"x")
        assert answer(client).endswith(b"ok")


def test_a_head_without_an_end_is_refused(port: int) -> None:
    line = b"A: " + b"b" * 1020 + b"\r\n"
    for before in (b"", ASK % b"", ASK % b"slow"):
        with connected(port) as client:
            client.sendall(before)
            if before == ASK % b"":
                assert answer(client).endswith(b"ok")
            client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n")
            sent = 0
            try:
                while sent < 1 << 26:
                    client.sendall(line)
                    sent += len(line)
            except ConnectionError:
                pass
            assert MOST_HEAD - len(line) <= sent < 1 << 26


def test_large_heads_and_bodies_pass(port: int) -> None:
    large = b"A: " + b"b" * (MOST_HEAD // 2) + b"\r\n"
    with connected(port) as client:
        for _ in range(3):
            client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n" + large)
            time.sleep(SECONDS / 10)  # it comes in pieces
            client.sendall(b"\r\n")
            assert answer(client).endswith(b"ok")
        client.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % (1 << 20))
        client.sendall(b"x" * (1 << 20))
        assert answer(client).endswith(b"ok")
        client.sendall((ASK % b"") * 2_000)  # one after the other, all at once
        answered = b""
        while answered.count(b"ok") < 2_000:
            answered += client.recv(65536)
