"""The line protocol: escaping, and what a server is sent. Real servers: `make test-servers`."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.errors import OutageError, StoreError
from ml_assets.stores.metrics import Points, points, series
from ml_assets.stores.metrics.influxdb import lines, send
from ml_assets_tests.stores.metrics.opening import BEGIN, INFLUXDB, MINUTE, VICTORIA

TEXTS = st.text(
    st.one_of(st.sampled_from("\\,= \"'{}\t"), st.characters(exclude_categories=["Cs", "Cc"])),
    min_size=1,
    max_size=20,
).filter(lambda text: not text.endswith("\\"))


class Server(ThreadingHTTPServer):
    """A server that keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[str, str, str]] = []
        self.answers: list[tuple[int, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.received.append((self.path, self.headers.get("authorization", ""), body))
        status, text = self.server.answers.pop(0) if self.server.answers else (204, b"")
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as opened:
        thread = threading.Thread(target=opened.serve_forever, args=(0.01,))
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


def parsed(line: str) -> tuple[str, dict[str, str], str, int]:
    """A line as InfluxDB reads it: a backslash before a comma, equal sign or blank is none."""
    head, field, at = re.split(r"(?<!\\) ", line[:-1])
    name, *tags = re.split(r"(?<!\\),", head)
    pairs = [re.split(r"(?<!\\)=", tag) for tag in tags]
    plain = {key: re.sub(r"\\([,= ])", r"\1", value) for key, value in pairs}
    return name, plain, field, int(at)


@given(TEXTS)
def test_a_label_comes_out_as_it_went_in(text: str) -> None:
    each = points(series("loss", model=text, run="1"), [(BEGIN, 0.1)])
    (line,) = lines([each])
    micros = int(BEGIN.timestamp()) * 1_000_000
    assert parsed(line) == ("loss", {"model": text, "run": "1"}, "value=0.1", micros)


def test_numbers_keep_every_bit() -> None:
    values = [0.1 + 0.2, -0.0, 5e-324, 1e150, 3.0]
    each = Points(series("a"), np.arange(5).astype("datetime64[us]"), np.array(values))
    told = [line.split()[1].removeprefix("value=") for line in lines([each])]
    assert [str(float(text)) for text in told] == [str(value) for value in values]


@pytest.mark.parametrize("text", ["a\nb", "a\n", "a\r", "a\\"])
def test_what_no_line_can_say_is_refused(text: str) -> None:
    each = points(series("loss", model=text), [(BEGIN, 0.1)])
    with pytest.raises(StoreError, match="has a line break, or ends with a backslash"):
        [*lines([each])]


def test_points_are_sent_in_batches_to_both_versions(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_assets.stores.metrics.influxdb.AT_ONCE", 3)
    each = points(series("loss", run="1"), [(BEGIN + n * MINUTE, float(n)) for n in range(4)])
    assert send(f"{server.url}/write?db=a%20b", [each]) == 4
    assert send(f"{server.url}/api/v2/write?org=o&bucket=b", [each], "secret") == 4
    (first, second, third, _) = server.received
    assert [len(body.splitlines()) for _, _, body in server.received] == [3, 1, 3, 1]
    assert second[2] == f"loss,run=1 value=3.0 {int((BEGIN + 3 * MINUTE).timestamp())}000000\n"
    assert parse_qs(urlsplit(first[0]).query) == {"db": ["a b"], "precision": ["u"]}
    asked = {"org": ["o"], "bucket": ["b"], "precision": ["us"]}
    assert parse_qs(urlsplit(third[0]).query) == asked
    assert (first[1], third[1]) == ("", "Token secret")


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((400, b'{"error":"unable to parse"}'), StoreError, r"unable to parse \(400\)"),
        ((401, b'{"code":"unauthorized","message":"no"}'), StoreError, "Check the token"),
        ((503, b""), OutageError, "Send the same points again later"),
        ((429, b"slow"), OutageError, "slow"),
    ],
)
def test_what_a_server_refuses_is_one_line(
    server: Server, answer: tuple[int, bytes], kind: type[StoreError], message: str
) -> None:
    server.answers.append(answer)
    url = server.url.replace("//", "//me:secret@") + "/write?db=a"
    with pytest.raises(StoreError, match=message) as raised:
        send(url, [points(series("loss"), [(BEGIN, 0.1)])])
    assert type(raised.value) is kind
    assert "secret" not in str(raised.value)
    assert server.received[0][1].startswith("Basic ")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/write",
        "http://127.0.0.1:1/api/v2/write?org=a",
        "http://127.0.0.1:1/query?db=a",
        "ftp://127.0.0.1:1/write?db=a",
    ],
)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="no URL to which points are written"):
        send(url, [points(series("loss"), [(BEGIN, 0.1)])])


def test_a_server_that_is_away_is_an_outage() -> None:
    with pytest.raises(OutageError, match="Check that the server is up"):
        send("http://127.0.0.1:1/write?db=a", [points(series("loss"), [(BEGIN, 0.1)])])


LABEL = "a b,c=d \\e'\"{ä}"
PAIRS = [(BEGIN + n * MINUTE, n / 7) for n in range(5)]


@pytest.mark.skipif(INFLUXDB not in os.environ, reason="make test-servers ONLY=metrics")
def test_influxdb_reads_back_what_was_written_by_version_1() -> None:
    url = os.environ[INFLUXDB]
    httpx.post(f"{url}/query", params={"q": "create database metrics"}).raise_for_status()
    send(f"{url}/write?db=metrics", [points(series("loss", model=LABEL), PAIRS)])
    asked = {"db": "metrics", "q": "select value from loss group by *", "epoch": "u"}
    answer = httpx.get(f"{url}/query", params=asked).raise_for_status().json()
    (found,) = answer["results"][0]["series"]
    assert found["tags"] == {"model": LABEL}
    assert found["values"] == [[int(at.timestamp()) * 1_000_000, value] for at, value in PAIRS]


@pytest.mark.skipif(VICTORIA not in os.environ, reason="make test-servers ONLY=metrics")
@pytest.mark.parametrize("endpoint", ["/write?db=metrics", "/api/v2/write?org=o&bucket=metrics"])
def test_victoria_metrics_reads_back_both_versions(endpoint: str) -> None:
    url, name = os.environ[VICTORIA], f"loss_{len(endpoint)}"
    send(url + endpoint, [points(series(name, model=LABEL), PAIRS)])
    asked = {"match[]": f"{name}_value", "start": int(BEGIN.timestamp())}
    httpx.get(f"{url}/internal/force_flush").raise_for_status()
    answer = httpx.get(f"{url}/api/v1/export", params=asked).raise_for_status()
    (found,) = map(json.loads, answer.text.splitlines())
    assert found["metric"]["model"] == LABEL
    assert found["values"] == pytest.approx([value for _, value in PAIRS])
    assert found["timestamps"] == [int(at.timestamp()) * 1_000 for at, _ in PAIRS]
