"""A server of MongoDB's wire protocol, for its own client: what it is asked, an engine answers.

The engine of `make test` is mongomock, in this process. That of `make test-servers` is DocumentDB,
an extension of PostgreSQL (`documentdb`). Only what the source `mongodb` and its tests ask for is
known here.
"""

from __future__ import annotations

import itertools
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import bson
import mongomock
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from ml_assets_tests.servers.starting import PASSWORD

Bson = dict[str, Any]

_OPTIONS: CodecOptions[Bson] = CodecOptions(tz_aware=True)
_MESSAGE, _QUERY, _REPLY = 2013, 2004, 1
_HEADER = struct.Struct("<iiii")
_LONGEST = 16 << 20
"""Bytes of a document, and of a batch."""

_HELLO = {
    **dict.fromkeys(("ismaster", "isWritablePrimary", "helloOk"), True),
    "maxBsonObjectSize": _LONGEST,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "logicalSessionTimeoutMinutes": 30,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "ok": 1.0,
}
_SASL = ("saslStart", "saslContinue")
_FREE = ("hello", "isMaster", "ismaster", "ping", "endSessions", "killCursors")


class RefusedError(Exception):
    """What the server answers instead: a code, its name and a message."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.answer = {"ok": 0.0, "code": code, "codeName": name, "errmsg": message}


class Engine(Protocol):
    """What stores documents, and answers commands about them in BSON."""

    def run(self, database: str, command: Bson) -> bytes:
        """Answer a command whose name is its first key.

        Raises:
            RefusedError: the engine cannot do it.
        """

    def close(self) -> None: ...


class Mock:
    """The engine in this process: mongomock."""

    def __init__(self) -> None:
        self._client: Any = mongomock.MongoClient(tz_aware=True)
        self._cursors: dict[int, list[bytes]] = {}
        self._numbers = itertools.count(1)

    def run(self, database: str, command: Bson) -> bytes:
        name, value = next(iter(command.items()))
        stored = self._client[database]
        if name == "getMore":
            if (rest := self._cursors.pop(value, None)) is None:
                raise RefusedError(43, "CursorNotFound", f"cursor id {value} not found")
            return self._batch(rest, command, "nextBatch")
        if name == "listCollections":
            named = [{"name": each} for each in stored.list_collection_names()]
            return self._batch([bson.encode(row) for row in named], command, "firstBatch")
        if name == "aggregate":
            try:
                rows = [bson.encode(row) for row in stored[value].aggregate(command["pipeline"])]
            except (mongomock.OperationFailure, NotImplementedError) as error:
                raise RefusedError(40324, "Location40324", str(error)) from None
            return self._batch(rows, command["cursor"], "firstBatch")
        if name == "insert":
            stored[value].insert_many(command["documents"])
        elif name == "update":
            for each in command["updates"]:
                stored[value].update_many(each["q"], each["u"])
        elif name == "delete":
            for each in command["deletes"]:
                stored[value].delete_many(each["q"])
        elif name == "drop":
            stored[value].drop()
        else:
            raise RefusedError(59, "CommandNotFound", f"no such command: '{name}'")
        return bson.encode({"n": 1, "nModified": 1, "ok": 1.0})

    def close(self) -> None:
        self._client.close()

    def _batch(self, rows: list[bytes], asked: Bson, name: str) -> bytes:
        """The next rows, as many as are asked for and fit, and a cursor for the others."""
        fit = max(1, sum(size <= _LONGEST for size in itertools.accumulate(map(len, rows))))
        most = min(fit, asked.get("batchSize") or (101 if name == "firstBatch" else fit))
        number = 0
        if rows[most:]:
            number = next(self._numbers)
            self._cursors[number] = rows[most:]
        batch = [RawBSONDocument(row) for row in rows[:most]]
        cursor = {"id": bson.Int64(number), "ns": "shop.any", name: batch}
        return bson.encode({"cursor": cursor, "ok": 1.0})


@dataclass
class Gateway:
    """A running server, and what a test makes of its answers.

    `before` may refuse a command, or raise `ConnectionError` to end the connection; `rewrite`
    changes the bytes of an answer.
    """

    engine: Engine
    url: str = ""
    commands: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda name: None
    rewrite: Callable[[bytes], bytes] = lambda answer: answer
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, command: Bson, known: set[str]) -> bytes:
        """Answer a command of a connection whose users are `known`."""
        name = next(iter(command))
        self.commands.append(name)
        try:
            self.before(name)
            if name in _SASL:
                return bson.encode(_sasl(command, known))
            if name in _FREE:
                return bson.encode(_HELLO)
            if not known:
                raise RefusedError(13, "Unauthorized", f"command {name} requires authentication")
            with self.lock:
                return self.rewrite(self.engine.run(command["$db"], command))
        except RefusedError as error:
            return bson.encode(error.answer)


@contextmanager
def mongodb_over_tcp(engine: Engine) -> Iterator[Gateway]:
    """A server that asks for a password, before this engine."""
    gateway = Gateway(engine)

    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            known: set[str] = set()
            while header := self.rfile.read(_HEADER.size):
                length, number, _, kind = _HEADER.unpack(header)
                command = _command(kind, self.rfile.read(length - _HEADER.size))
                try:
                    answer = gateway.answer(command, known)
                except ConnectionError:
                    return
                if kind == _QUERY:
                    body = struct.pack("<iqii", 8, 0, 0, 1) + answer
                else:
                    body = struct.pack("<iB", 0, 0) + answer
                reply = _REPLY if kind == _QUERY else _MESSAGE
                size = _HEADER.size + len(body)
                self.wfile.write(_HEADER.pack(size, 0, number, reply) + body)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Connection) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        place = f"127.0.0.1:{server.server_address[1]}/shop"
        gateway.url = f"mongodb://reader:{PASSWORD}@{place}?authMechanism=PLAIN"
        try:
            yield gateway
        finally:
            server.shutdown()
            thread.join()


def _command(kind: int, body: bytes) -> Bson:
    """The command of a message, with the documents that stand in sequences after it."""
    if kind == _QUERY:  # the first greeting alone
        start = body.index(b"\0", 4) + 1 + 8
        return bson.decode(body[start:], _OPTIONS)
    command: Bson = {}
    at = 4
    while at < len(body):
        (size,) = struct.unpack_from("<i", body, at + 1)
        section = body[at + 1 : at + 1 + size]
        if body[at] == 0:
            command = {**bson.decode(section, _OPTIONS), **command}
        else:
            end = section.index(b"\0", 4)
            rows = bson.decode_all(section[end + 1 :], _OPTIONS)
            command = {**command, section[4:end].decode(): rows}
        at += 1 + size
    return command


def _sasl(command: Bson, known: set[str]) -> Bson:
    _, user, password = bytes(command["payload"]).decode().split("\0")
    if (user, password) != ("reader", PASSWORD):
        raise RefusedError(18, "AuthenticationFailed", "Authentication failed.")
    known.add(user)
    return {"conversationId": 1, "done": True, "payload": b"", "ok": 1.0}
