"""Answers over HTTP: whole and as events, with a language model and without, and its failures."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from ml_assets.answers.model import Sentence
from ml_assets.errors import OutageError, SettingError
from ml_assets.releases.pointer import present_release
from ml_assets.service.admission.keys import create_key, revoke_key
from ml_assets.service.app import create_app
from ml_assets.service.client import Client
from ml_assets.service.guard import Guard
from ml_assets.service.metrics import Metrics
from ml_assets.service.refusals import RefusedError
from ml_assets.service.writing import Writing
from ml_assets_tests.answers.serving import (
    LanguageServer,
    Reply,
    language_server,
    sentences,
    stream,
)
from ml_assets_tests.service.deployed import Deployed, OpenService, get, post, soon

QUESTION = {"question": "w3 w6 w9", "k": 3}
DOWN = Reply([b'{"error": "a secret of the server"}'], 500)


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    with language_server() as opened:
        yield opened


@pytest.fixture(scope="module")
def written(open_service: OpenService, server: LanguageServer) -> Iterator[TestClient]:
    """A service with a language model, which writes one answer at a time."""
    url = SecretStr(server.url)
    with open_service(llm_url=url, llm_model="smol", answer_requests=1) as opened:
        yield opened


@pytest.fixture
def asked(written: TestClient) -> Client:
    opened = Client("http://127.0.0.1:1")
    opened._http = TestClient(
        written.app, base_url="http://127.0.0.1/v1", raise_server_exceptions=False
    )
    return opened


def said(*numbers: int) -> str:
    return sentences(("w3 w6 w9 it is.", [*numbers]), ("So it is.", []))


def events(client: TestClient, **more: Any) -> list[tuple[str, Any]]:
    answer = client.post("/v1/answer", json={**QUESTION, "stream": True, **more})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == (
        "no-cache",
        "no",
    )
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in blocks
    ]


def test_without_a_model_the_passages_of_the_search_answer(client: TestClient) -> None:
    found = post(client, "/v1/search", {"query": "w3 w6 w9", "k": 3})
    answer = post(client, "/v1/answer", QUESTION)
    assert (answer["kind"], answer["model"], answer["complete"]) == ("extractive", "", True)
    assert answer["notice"].startswith("No language model was asked")
    for number, (passage, hit) in enumerate(zip(answer["passages"], found["hits"], strict=True), 1):
        assert passage.pop("number") == number
        assert passage.items() <= hit.items()
    assert answer["text"].startswith(found["hits"][0]["snippet"] + " [1] ")
    assert (answer["release"], answer["generation_id"]) == (
        found["release"],
        found["generation_id"],
    )
    *told, (last, whole) = events(client)
    assert [name for name, _ in told] == ["sentence"] * 3
    assert (last, [sentence for _, sentence in told]) == ("answer", answer["sentences"])
    assert whole["text"] == answer["text"]


def test_filters_hold(client: TestClient) -> None:
    answer = post(client, "/v1/answer", {**QUESTION, "label": ["music"], "where": []})
    found = post(client, "/v1/search", {"query": "w3 w6 w9", "k": 3, "label": ["music"]})
    ids = [passage["document_id"] for passage in answer["passages"]]
    assert ids == [hit["document_id"] for hit in found["hits"]]


def test_what_nothing_answers_is_refused_before_a_model_is_asked(
    open_service: OpenService, server: LanguageServer
) -> None:
    changed = {"llm_url": SecretStr(server.url), "llm_model": "smol", "answer_min_relevance": 1.0}
    with open_service(**changed) as opened:
        before = len(server.asked)
        answer = post(opened, "/v1/answer", QUESTION)
        assert (answer["kind"], answer["text"], answer["passages"]) == ("refused", "", [])
        assert events(opened)[0][0] == "answer"
        assert len(server.asked) == before


def test_what_a_model_writes_comes_whole_or_as_events(
    written: TestClient, server: LanguageServer
) -> None:
    server.replies = [stream(said(1, 9)), stream(said(1))]
    answer = post(written, "/v1/answer", QUESTION)
    assert (answer["kind"], answer["model"]) == ("generated", "smol")
    assert [each["mark"] for each in answer["sentences"]] == ["wrong", "uncited"]
    assert answer["text"] == "w3 w6 w9 it is. [1] [wrongly cited] So it is. [uncited]"
    told = events(written)
    assert [name for name, _ in told] == ["sentence", "sentence", "answer"]
    assert told[0][1] == {"text": "w3 w6 w9 it is.", "passages": [1], "mark": told[0][1]["mark"]}
    assert told[2][1]["sentences"] == [sentence for _, sentence in told[:2]]
    before = len(server.asked)
    assert post(written, "/v1/answer", {**QUESTION, "extractive": True})["kind"] == "extractive"
    assert len(server.asked) == before


def test_a_model_that_fails_is_503_and_why_is_in_the_log(
    written: TestClient, server: LanguageServer, caplog: pytest.LogCaptureFixture
) -> None:
    for streams in (False, True):
        server.replies = [DOWN]
        with caplog.at_level("INFO", "ml_assets"):
            answer = written.post("/v1/answer", json={**QUESTION, "stream": streams})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == (
            "unavailable",
            "the language model does not answer",
        )
        assert "extractive" in error["do"]
        assert "a secret" not in answer.text
        assert "a secret" in caplog.records[-1].reason  # type: ignore[attr-defined]


def test_a_model_that_breaks_off_is_an_event(written: TestClient, server: LanguageServer) -> None:
    whole = stream(said(1))
    broken = b'data: {"error": {"message": "out of memory"}}\n\n'
    server.replies = [Reply([*whole.parts[:2], broken])]
    (first, _), (_, _), (last, problem) = events(written)
    assert (first, last) == ("sentence", "error")
    assert problem["error"]["code"] == "unavailable"
    assert problem["error"]["request_id"]


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"k": 21}, {"question": ""}, {"question": "w" * 2001}, {"prompt": "x"}]
)
def test_what_cannot_be_asked_is_422(client: TestClient, wrong: dict[str, Any]) -> None:
    assert post(client, "/v1/answer", {**QUESTION, **wrong}, 422)["error"]["code"] == "invalid"


def test_one_more_than_are_written_at_a_time_is_refused(
    written: TestClient, server: LanguageServer
) -> None:
    reply = stream(said(1))
    reply.wait = threading.Event()
    server.replies = [reply, stream(said(1))]
    before, codes = len(server.asked), []

    def first() -> None:
        codes.append(written.post("/v1/answer", json=QUESTION).status_code)

    thread = threading.Thread(target=first)
    thread.start()
    while len(server.asked) == before:
        threading.Event().wait(0.01)
    assert post(written, "/v1/answer", QUESTION, 503)["error"]["code"] == "busy"
    assert post(written, "/v1/answer", {**QUESTION, "extractive": True})["kind"] == "extractive"
    reply.wait.set()
    thread.join()
    assert codes == [200]
    assert post(written, "/v1/answer", QUESTION)["kind"] == "generated"


def test_what_has_begun_is_finished_from_its_release(
    written: TestClient, server: LanguageServer, deployed: Deployed
) -> None:
    """Also when that is rolled back meanwhile, and the key revoked: the next one is not begun."""
    connection = deployed.deployment.connection
    before = get(written, "/v1/release")["release"]
    key = create_key(connection, "ann", "viewer", ["read"], "tester")
    soon(lambda: written.get("/v1/release").status_code == 401)
    whole, headers = stream(said(1)), {"X-API-Key": key}
    reply = Reply([*whole.parts[:2], *whole.parts[2:]], wait=threading.Event())
    server.replies, asked = [reply], {**QUESTION, "stream": True}
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(written.post("/v1/answer", json=asked, headers=headers))
    )
    thread.start()
    soon(lambda: len(server.replies) == 0)
    deployed.publish(deployed.generation(hnsw_m=14))
    try:
        revoke_key(connection, key.split("_")[1], "tester")
        soon(lambda: written.post("/v1/answer", json=asked, headers=headers).status_code == 401)
        assert reply.wait
        reply.wait.set()
        thread.join()
        assert answers[0].status_code == 200
        last = answers[0].text.strip().rpartition("data: ")[2]
        assert json.loads(last)["release"] == before
    finally:
        deployed.publish(deployed.generation())
        connection.execute("delete from api_keys")
        soon(lambda: written.get("/v1/release").status_code == 200)
        published = present_release(connection)
        assert published
        soon(lambda: get(written, "/v1/release")["release"] == published.release_id)


def test_who_has_gone_is_written_no_further() -> None:
    writing, asked, wait = Writing(1), [], threading.Event()

    def slow() -> Iterator[int]:
        for number in range(9):
            asked.append(number)
            if number:
                wait.wait(10)
            yield number

    async def leave() -> None:
        parts = writing.parts(slow())
        assert await anext(parts) == 0
        await parts.aclose()  # type: ignore[attr-defined]
        with pytest.raises(RefusedError):  # the thread is still there
            await anext(writing.parts(iter([1])))
        wait.set()
        while writing._now:
            await asyncio.sleep(0.01)
        assert [part async for part in writing.parts(iter([1, 2]))] == [1, 2]

    asyncio.run(leave())
    assert asked == [0, 1]


def test_the_client_answers_as_a_session_does(asked: Client, server: LanguageServer) -> None:
    server.replies = [stream(said(1)), stream(said(1))]
    told: list[Sentence] = []
    answer = asked.answer("w3 w6 w9", k=3, on_sentence=told.append)
    assert (answer.kind, answer.model, told) == ("generated", "smol", list(answer.sentences))
    assert asked.answer("w3 w6 w9", k=3) == answer
    extracts = asked.answer("w3 w6 w9", k=2, filters='label = "music"', extractive=True)
    assert (extracts.kind, len(extracts.passages)) == ("extractive", 2)
    assert {asked.document(each.document_id).label for each in extracts.passages} == {"music"}


def test_the_client_tells_what_failed(asked: Client, server: LanguageServer) -> None:
    tell = [].append
    broken = b'data: {"error": {"message": "out of memory"}}\n\n'
    for reply in (DOWN, Reply([*stream(said(1)).parts[:2], broken])):
        server.replies = [reply]
        with pytest.raises(OutageError, match="the language model does not answer"):
            asked.answer("w3 w6 w9", on_sentence=tell)


def test_a_release_is_told_by_the_client(asked: Client, deployed: Deployed) -> None:
    from ml_assets.releases.pointer import present_release

    assert asked.release() == present_release(deployed.deployment.connection)


def test_a_model_that_is_named_by_half_starts_nothing(deployed: Deployed) -> None:
    settings = deployed.settings.model_copy(update={"llm_model": "smol"})
    with pytest.raises(SettingError, match="LLM_URL"):
        create_app(settings)


@pytest.mark.parametrize(("path", "status"), [("/v1/answer", 200), ("/v1/search", 503)])
def test_an_answer_may_take_longer_than_others(deployed: Deployed, path: str, status: int) -> None:
    settings = deployed.settings.model_copy(update={"service_timeout": 0.01, "answer_timeout": 60})
    started: list[int] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    guard = Guard(slow, settings, Metrics(), lambda scope, status, refusal: None)
    asyncio.run(guard(scope, receive, send))
    assert started == [status]
