"""The bench of the service: questions, rows beside ours, and what must be reached."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.serving import __main__ as main
from bench.serving import home, takeover
from bench.serving.load import Load, Row, ask
from ml_assets.releases import pointer
from ml_assets.service.following import deployments
from ml_assets.service.following.deployments import Process
from ml_assets.settings import Settings
from ml_assets.stores import postgres

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


def test_takeovers_are_timed_by_what_processes_tell(
    settings: Settings, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process("here")

    def published(*given: Any) -> None:
        publish(*given)
        release = pointer.present_release(connection)
        assert release
        since = release.served_from + timedelta(seconds=0.25)
        deployments.record(connection, process, release.release_id, since)

    publish = pointer.publish
    monkeypatch.setattr(pointer, "publish", published)
    monkeypatch.setattr(takeover.postgres, "connect", lambda *_: nullcontext(connection))
    ended = iter([False, False, True])
    taken = takeover.takeovers(settings.home, lambda: next(ended))
    assert taken == [0.25, 0.25]
    assert len(pointer.list_releases(connection)) == 2
    monkeypatch.setattr(takeover, "_PATIENCE", 0.1)
    monkeypatch.setattr(pointer, "publish", publish)
    with pytest.raises(SystemExit, match="release 3 was not taken over"):
        takeover.takeovers(settings.home, lambda: False)


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
