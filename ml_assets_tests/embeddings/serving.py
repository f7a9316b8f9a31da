"""A real server of embeddings on localhost that counts, fails, stalls and limits as it is told."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIMENSION = 12

Answer = tuple[int, dict[str, str], Any]
"""Status, headers and body."""


def raw_vector(text: str) -> list[float]:
    """What the server gives for a text: not of unit norm."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return [float(n) for n in 3 * np.random.default_rng(seed).standard_normal(DIMENSION)]


def tokens_of(text: str) -> int:
    return len(text.split()) + 2


@dataclass
class EmbeddingServer:
    """What was asked of it, and how it answers: by `rule` first, if that says anything."""

    url: str = ""
    rule: Callable[[int, list[str]], Answer | None] = lambda number, texts: None
    delay: float = 0.0
    requests: list[list[str]] = field(default_factory=list)
    input_types: list[str | None] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: dict[str, Any], headers: dict[str, str], path: str) -> Answer:
        texts = body["input"]
        with self._lock:
            self.requests.append(texts)
            self.input_types.append(body.get("input_type"))
            self.headers.append(headers)
            self.paths.append(path)
            self.times.append(time.monotonic())
            number = len(self.requests)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self.delay)
            if (told := self.rule(number, texts)) is not None:
                return told
            with self._lock:
                self.answered += texts
            return 200, {}, self.vectors(texts)
        finally:
            with self._lock:
                self._at_once -= 1

    def vectors(self, texts: list[str]) -> dict[str, Any]:
        """In no order, as the protocol allows."""
        rows = [{"index": n, "embedding": raw_vector(text)} for n, text in enumerate(texts)]
        return {"data": rows[::-1], "usage": {"prompt_tokens": sum(map(tokens_of, texts))}}


@contextmanager
def embedding_server() -> Iterator[EmbeddingServer]:
    """The server, on a free port."""
    state = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, content = state.answer(body, dict(self.headers), self.path)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # who asked has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 64
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
