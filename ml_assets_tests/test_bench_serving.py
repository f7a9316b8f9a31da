"""The bench of the service: questions, rows beside ours, and what must be reached."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.serving import __main__ as main
from bench.serving import home
from bench.serving.load import Load, Row, ask

ROWS = [
    Row(main.NAMES[0], "search", 1, 8.5, 20.0, 110.0),
    Row(main.NAMES[0], "search", 16, 70.0, 140.0, 210.0),
    Row(main.NAMES[1], "search", 1, 42.5, 90.0, 20.0),
]


def test_peers_stand_beside_ours_of_the_same_load() -> None:
    lines = main.table(ROWS).splitlines()
    assert lines[2] == "| search | ml_assets | 1 | 8.5 / 20.0 | 110 | 1.0 |"
    assert lines[4].endswith("| 1 | 42.5 / 90.0 | 20 | 5.0 |")


def test_ours_alone_must_reach_something() -> None:
    told = {target.what: target.reached for target in main._targets(ROWS)}
    assert told == {
        "p50_ms of search, 1 clients": False,
        "p99_ms of search, 1 clients": True,
        "per_second of search, 16 clients": True,
        "p99_ms of search, 16 clients": True,
    }


def test_no_question_is_asked_twice_for_want_of_others() -> None:
    assert home.take(iter("abc"), 2) == ["a", "b"]
    with pytest.raises(SystemExit, match="too few documents"):
        home.take(iter("abc"), 4)


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers 200, but to one question."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[str]] = Counter()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked[body["query"]] += 1
        self.send_response(500 if body["query"] == "fail" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is missing")
def test_bodies_are_asked_by_turns_and_a_failure_is_no_figure(url: str, tmp_path: Path) -> None:
    def load(*queries: str) -> Load:
        return Load("search", "/v1/search", 2, [{"query": query} for query in queries])

    row = ask("ours", url, load("a", "b", "c"), 1, tmp_path)
    assert (row.name, row.what, row.clients) == ("ours", "search", 2)
    assert row.per_second > 0
    counts = Answering.asked.values()
    assert max(counts) - min(counts) <= 1
    with pytest.raises(SystemExit, match="requests failed: ours, search, 2 clients"):
        ask("ours", url, load("fail", "b"), 1, tmp_path)
