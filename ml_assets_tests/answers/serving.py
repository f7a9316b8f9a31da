"""A server that speaks like OpenAI's, and says what a test has it say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What a request is answered with: parts of a body, sent one by one."""

    parts: Sequence[bytes]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait: threading.Event | None = None
    """Waited for after the first part."""


@dataclass
class LanguageServer:
    """Its URL, what it is to say, in order, and what it was asked."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


def stream(*pieces: str, reason: str | None = "stop", usage: Any = None) -> Reply:
    """The pieces as events, as llama.cpp, vLLM and Ollama send them."""
    events: list[dict[str, Any]] = [
        {"choices": [{"delta": {"role": "assistant", "content": None}}]}
    ]
    events += [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    if reason:
        events.append({"choices": [{"delta": {}, "finish_reason": reason}]})
    if usage:
        events.append({"choices": [], "usage": usage})
    lines = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    return Reply([*lines, b"data: [DONE]\n\n"])


def sentences(*said: tuple[str, Sequence[Any]]) -> str:
    """What a model writes that keeps to the form."""
    rows = [{"text": text, "passages": numbers} for text, numbers in said]
    return json.dumps({"sentences": rows})


@contextmanager
def language_server() -> Iterator[LanguageServer]:
    known = LanguageServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            known.asked.append({"path": self.path, **json.loads(body)})
            known.keys.append(self.headers["authorization"])
            reply = known.replies.pop(0)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            for number, part in enumerate(reply.parts):
                if number == 1 and reply.wait:
                    reply.wait.wait(30)
                self.wfile.write(part)
                self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Who asked has gone: the tests that do so look at what is left."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        known.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield known
        finally:
            server.shutdown()
            thread.join()
