"""What the service keeps of its predictions, and of what it is told of them."""

from __future__ import annotations

import logging
import os
import socket
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ml_assets.documents.normalize import normalize
from ml_assets.monitoring.predictions import FEEDBACK, PREDICTIONS, REQUESTS
from ml_assets.monitoring.spool import segments as spooled
from ml_assets.monitoring.spool import writer
from ml_assets.monitoring.spool.segments import list_segments, place_of, read_records
from ml_assets.service import recording
from ml_assets.service.admission.keys import create_key
from ml_assets.service.following import follower
from ml_assets_tests.service.deployed import Deployed, OpenService, get, post, soon

TEXTS = ["w3 w6 w9 w30 w61", "w1 w4\r\nw7 w31"]


def kept(client: TestClient, name: str) -> list[dict[str, Any]]:
    """What a service wrote so far."""
    service = client.app.state.service  # type: ignore[attr-defined]
    own = service.process.process_id.hex
    segments = list_segments(place_of(service.settings.home, name))
    found = [read_records(each.path)[0] for each in segments if each.writer == own]
    return [record for records in found for record in records]


@pytest.mark.parametrize("texts", [False, True])
def test_each_prediction_is_kept_once_it_was_answered(
    open_service: OpenService, texts: bool
) -> None:
    with open_service(prediction_log_texts=texts) as client:
        answer = client.post("/v1/predict", json={"texts": TEXTS}, headers={"X-Request-ID": "r-1"})
        soon(lambda: len(kept(client, PREDICTIONS)) == 2)
        records = kept(client, PREDICTIONS)
        assert post(client, "/v1/predict", {"texts": TEXTS})
        assert client.post("/v1/predict", json={"texts": [" "]}).status_code == 422
    given = answer.json()
    for position, (record, told) in enumerate(zip(records, given["predictions"], strict=True)):
        assert record["request_id"] == "r-1"
        assert record["position"] == position
        assert record["release_id"] == given["release"]
        assert f"{record['model']}/{record['version']}" == given["model"]
        assert {name: record[name] for name in told if name != "unknown"} | {"unknown": {}} == told
        assert record["text_hash"] == sha256(normalize(TEXTS[position]).encode()).hexdigest()
        assert record["text"] == (TEXTS[position] if texts else None)
        assert record["latency_ms"] > 0
    later = kept(client, PREDICTIONS)[2:]
    assert [each["request_id"] for each in later] == [later[0]["request_id"]] * 2
    assert later[0]["request_id"] != "r-1"


def test_each_minute_of_each_route_is_kept(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = datetime(2026, 3, 5, 12, tzinfo=UTC)
    get(client, "/health")
    recorder = client.app.state.service.recorder  # type: ignore[attr-defined]
    recorder._keep_minute()  # what other tests asked
    soon(lambda: not recorder._routes)
    before = len(kept(client, REQUESTS))
    monkeypatch.setattr(recording, "_this_minute", lambda: minute)
    monkeypatch.setattr(recording, "_MOST_LATENCIES", 4)
    monkeypatch.setattr(recording, "gpu_usage", lambda: (80.0, 900.5))
    recorder._minute = minute
    for number in range(9):
        recorder.answered("/v1/search", 503 if number == 8 else 200, number / 1000)
    post(client, "/v1/predict", {"texts": TEXTS})
    monkeypatch.setattr(recording, "_this_minute", lambda: minute + timedelta(minutes=1))
    monkeypatch.setattr(recorder, "_release", lambda: 99)  # it was taken over since
    get(client, "/health")  # a probe is none of them
    assert len(kept(client, REQUESTS)) == before
    recorder.answered("/v1/search", 200, 0.5)
    soon(lambda: len(kept(client, REQUESTS)) == before + 2)
    search, predict = kept(client, REQUESTS)[before:]
    assert (search["at"], search["route"]) == (minute.isoformat(), "/v1/search")
    assert (search["requests"], search["errors"]) == (9, 1)
    assert search["latencies_ms"] == [0.0, 4.0, 8.0]
    assert predict["route"] == "/v1/predict"
    assert (predict["requests"], len(predict["latencies_ms"])) == (1, 1)
    assert predict["release_id"] == get(client, "/v1/release")["release"]
    assert predict["memory_mib"] > 1
    assert (predict["gpu_percent"], predict["gpu_memory_mib"]) == (80.0, 900.5)
    assert (predict["host"], predict["process"]) == (socket.gethostname(), os.getpid())


def test_feedback_is_on_the_disk_before_it_is_answered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []
    real = writer.os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        waited.append(len(kept(client, FEEDBACK)))

    before = len(kept(client, FEEDBACK))
    monkeypatch.setattr(writer.os, "fsync", fsync)
    answer = post(client, "/v1/feedback", {"request_id": "r-1", "label": "music"}, 202)
    assert answer == {"request_id": "r-1", "position": 0}
    assert waited[-1] == before + 1
    post(client, "/v1/feedback", {"request_id": "r-1", "position": 1, "correct": False}, 202)
    first, second = kept(client, FEEDBACK)[before:]
    assert (first["label"], first["correct"], first["position"]) == ("music", None, 0)
    assert (second["label"], second["correct"], second["position"]) == ("", False, 1)
    assert first["caller"].startswith("address")


@pytest.mark.parametrize(
    "body",
    [
        {"request_id": "r-1"},
        {"request_id": "r-1", "label": "a", "correct": True},
        {"request_id": "r 1", "label": "a"},
        {"request_id": "r-1", "label": ""},
        {"request_id": "r-1", "label": "a", "position": 256},
    ],
)
def test_feedback_that_says_nothing_is_refused(client: TestClient, body: Any) -> None:
    post(client, "/v1/feedback", body, 422)


@pytest.mark.usefixtures("_no_keys")
def test_a_key_narrowed_to_feedback_may_do_only_that(
    deployed: Deployed, open_service: OpenService
) -> None:
    connection = deployed.deployment.connection
    keys = {
        only: create_key(connection, only, "viewer", [only], "tester")  # type: ignore[list-item]
        for only in ("read", "feedback")
    }
    body = {"request_id": "r-1", "label": "a"}
    with open_service() as client:

        def status(only: str, path: str, asked: Any) -> int:
            headers = {"X-API-Key": keys[only]}
            return client.post(path, json=asked, headers=headers).status_code

        assert status("feedback", "/v1/feedback", body) == 202
        assert status("read", "/v1/feedback", body) == 403
        assert status("feedback", "/v1/predict", {"texts": TEXTS}) == 403
        assert kept(client, FEEDBACK)[0]["caller"] == keys["feedback"].split("_")[1]


def test_a_full_spool_warns_and_answers(
    open_service: OpenService, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ml_assets"), open_service(prediction_log_bytes=1) as one:
        assert not [told for told in get(one, "/ready")["warnings"] if "lost" in told]
        post(one, "/v1/predict", {"texts": TEXTS})
        lost = "2 records of predictions were lost (space)"
        soon(lambda: lost in get(one, "/ready")["warnings"])
        assert get(one, "/ready")["ready"] is True
        refused = post(one, "/v1/feedback", {"request_id": "r-1", "label": "a"}, 503)
        assert refused["error"]["code"] == "unavailable"
        metrics = one.get("/metrics").text
    assert 'ml_assets_lost_total{reason="space",spool="predictions"} 2.0' in metrics
    assert "records were lost" in caplog.text


def test_what_cannot_be_kept_is_told_before_anything_is_lost(
    open_service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spooled, "TemporaryFile", full)
    monkeypatch.setattr(follower, "obstacle", lambda *_: "it is read-only")
    with open_service() as client:
        soon(lambda: len(get(client, "/ready")["warnings"]) == 4)
        ready = get(client, "/ready")
        assert ready["ready"] is True
        assert ready["warnings"] == [
            "each process counts by itself, and nobody can log in (it is read-only)",
            "predictions cannot be kept ([Errno 28] No space left on device)",
            "feedback cannot be kept ([Errno 28] No space left on device)",
            "requests cannot be kept ([Errno 28] No space left on device)",
        ]
        outside = client.get("/ready", headers={"Host": "example.org"}).json()
        assert (outside["ready"], outside["warnings"]) == (True, [])
