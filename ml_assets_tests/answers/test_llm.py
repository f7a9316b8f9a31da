"""A language model over HTTP: what it writes is read as it comes, and what fails is one line."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Sequence
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from ml_assets.answers import llm
from ml_assets.answers.llm import Ended, LanguageModel, LanguageModelError, generate, language_model
from ml_assets.answers.prompt import answer_schema
from ml_assets.errors import SettingError
from ml_assets.settings import load_settings
from ml_assets_tests.answers.serving import LanguageServer, Reply, stream

KEY = "sk-for-tests-only"


def model_of(server: LanguageServer, **changed: Any) -> LanguageModel:
    return LanguageModel(
        **{"url": server.url, "name": "smol", "key": KEY, "seconds": 10.0, **changed}
    )


def written(model: LanguageModel, tokens: int = 64) -> list[str | Ended]:
    messages = [{"role": "user", "content": "Why?"}]
    return list(generate(model, messages, answer_schema(2), tokens))


def test_what_is_asked_and_what_is_written(server: LanguageServer) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    server.replies = [stream("He", "llo \u00e9", usage=usage)]
    assert written(model_of(server)) == ["He", "llo \u00e9", Ended("stop", 7, 2)]
    (asked,) = server.asked
    assert asked["path"] == "/v1/chat/completions"
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("smol", 64, 0)
    assert asked["messages"] == [{"role": "user", "content": "Why?"}]
    assert asked["response_format"]["json_schema"]["schema"] == answer_schema(2)
    assert server.keys == [f"Bearer {KEY}"]
    server.replies = [stream("a")]
    assert written(model_of(server, url=server.url + "/chat/completions/", key=None))[0] == "a"
    assert (server.asked[1]["path"], server.keys[1]) == ("/v1/chat/completions", None)


def test_it_is_read_while_it_is_written(server: LanguageServer) -> None:
    reply = stream("a", "b")
    reply.parts, reply.wait = (
        [b"".join(reply.parts[:2]), b"".join(reply.parts[2:])],
        threading.Event(),
    )
    server.replies = [reply]
    pieces = generate(model_of(server), [], {}, 64)
    assert next(pieces) == "a"
    reply.wait.set()
    assert list(pieces) == ["b", Ended("stop")]


def event(value: object, end: bytes = b"\n\n") -> bytes:
    return b"data: " + json.dumps(value).encode() + end


DELTA = {"choices": [{"delta": {"content": "a\u00e9"}}]}
WHOLE = {"choices": [{"message": {"content": "a\u00e9"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([event(DELTA, b"\r\n\r\n"), b"data:[DONE]\r\n\r\n"], ""),
        ([b": ping\n\nevent: x\nid: 1\n", event(DELTA)], ""),
        ([bytes([byte]) for byte in event(DELTA)], ""),
        (
            [
                event({"choices": []}),
                event({"choices": None}),
                event(DELTA),
                event({"usage": None}),
            ],
            "",
        ),
        (
            [event({"choices": [{"delta": None}]}), event(DELTA), b"data: [DONE]\n", event(DELTA)],
            "",
        ),
        ([json.dumps(WHOLE, indent=1).encode()], "stop"),
        ([event(WHOLE)], "stop"),
        ([event(DELTA), event({"choices": [{"delta": {}, "finish_reason": "length"}]})], "length"),
    ],
)
def test_every_form_of_stream(server: LanguageServer, parts: Sequence[bytes], reason: str) -> None:
    server.replies = [Reply(parts)]
    assert written(model_of(server)) == ["a\u00e9", Ended(reason)]


def test_a_server_that_knows_no_end_is_left(server: LanguageServer) -> None:
    server.replies = [stream(*["x" * 100] * 50)]
    assert written(model_of(server), tokens=20) == ["x" * 100] * 3 + [Ended("length")]


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([event({"error": {"message": f"out of\nmemory, {KEY}"}})], r"out of memory, \*\*\*\)"),
        ([event({"error": "gone"})], "gone"),
        ([b"data: {nope\n"], "cannot be read"),
        ([event([1])], "cannot be read"),
        ([event({"choices": 5})], "cannot be read"),
        ([event({"choices": [{"delta": {"content": ["a"]}}]})], "cannot be read"),
        ([event({"choices": [], "usage": 5})], "cannot be read"),
        ([b"data: " + b"[" * 200_000 + b"\n"], "cannot be read"),
    ],
)
def test_what_is_no_answer_is_told(
    server: LanguageServer, parts: Sequence[bytes], complaint: str
) -> None:
    server.replies = [Reply(parts)]
    with pytest.raises(LanguageModelError, match=complaint) as caught:
        written(model_of(server))
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_too_much_is_not_read(
    server: LanguageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "_MOST_BYTES", 1 << 20)
    server.replies = [Reply([b"data: " + b"x" * (1 << 21)])]
    with pytest.raises(LanguageModelError, match="it is more than 1 MiB"):
        written(model_of(server))


@hypothesis.given(st.lists(st.binary(max_size=4) | st.sampled_from([b"\n", b"a\n\nb"])))
def test_lines_are_those_of_all_pieces_together(pieces: list[bytes]) -> None:
    assert list(llm._lines(pieces)) == b"".join(pieces).split(b"\n")


def test_no_byte_is_copied_again_for_each_that_follows() -> None:
    """A hostile server sends half a million lines, or bytes: copies would be hundreds of GB."""
    many = 1 << 19
    assert list(llm._events([b"x\n" * many])) == []
    (line,) = llm._lines(b"x" for _ in range(many))
    assert len(line) == many


@pytest.mark.parametrize("status", [200, 500])
def test_what_is_compressed_is_not_unpacked(server: LanguageServer, status: int) -> None:
    packed, headers = gzip.compress(b" " * (1 << 20)), {"content-encoding": "gzip"}
    server.replies = [Reply([packed], status, headers)]
    with pytest.raises(LanguageModelError, match=r"compressed \(gzip\)|500") as caught:
        written(model_of(server))
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("status", [500, 503])
def test_a_refusal_without_an_end_is_told(
    server: LanguageServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(llm, "_TRIES", 1)
    ended = threading.Event()
    server.replies = [Reply([b"x" * (1 << 20), b"y"], status, wait=ended)]
    with pytest.raises(LanguageModelError, match=f"{status}, xxx"):
        written(model_of(server, seconds=2.0))
    ended.set()


REFUSED = {"error": {"message": f"no such thing, {KEY}"}}


@pytest.mark.parametrize(
    ("status", "body", "step"),
    [
        (401, REFUSED, "Set LLM_API_KEY to a key of this server"),
        (403, {"detail": "forbidden"}, "Set LLM_API_KEY"),
        (404, REFUSED, "Check LLM_URL, and that it serves the model smol"),
        (302, {}, "Check LLM_URL"),
        (400, {"error": "context is 512"}, "Lower ML_ASSETS_ANSWER_CONTEXT"),
        (500, REFUSED, "Check LLM_URL"),
    ],
)
def test_a_refusal_is_a_line_with_a_next_step(
    server: LanguageServer, status: int, body: object, step: str
) -> None:
    server.replies = [Reply([json.dumps(body).encode()], status)]
    with pytest.raises(LanguageModelError, match=f"{server.url}: {status}, .*{step}") as caught:
        written(model_of(server))
    assert KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_thrice(
    server: LanguageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waited.append)
    busy = Reply([b"{}"], 503, {"Retry-After": "2"})
    server.replies = [busy, Reply([b"{}"], 429), stream("a")]
    assert written(model_of(server))[0] == "a"
    assert waited[0] == 2
    assert 0 <= waited[1] <= 5
    server.replies = [busy, busy, busy, stream("a")]
    with pytest.raises(LanguageModelError, match=r"503, .*\. Check that it runs .*--extractive"):
        written(model_of(server))
    assert len(server.replies) == 1
    server.replies = [Reply([b"{}"], 429, {"Retry-After": "600"}), stream("a")]
    with pytest.raises(LanguageModelError, match="429"):
        written(model_of(server))
    assert len(server.replies) == 1


def test_a_server_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    gone = LanguageModel("http://me:secret@127.0.0.1:9/v1", "smol", KEY, 5)
    with pytest.raises(LanguageModelError, match=r"http://127\.0\.0\.1:9/v1: it does not answer"):
        written(gone)


def test_a_silent_server_is_given_up_and_so_is_one_that_never_ends(
    server: LanguageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = stream("a")
    reply.wait = threading.Event()
    server.replies = [reply]
    with pytest.raises(LanguageModelError, match=r"no answer within 0\.2 s"):
        written(model_of(server, seconds=0.2))
    reply.wait.set()
    server.replies = [stream("a", "b")]
    clock = iter([0.0, *[11.0] * 9])
    monkeypatch.setattr(llm.time, "monotonic", lambda: next(clock))
    with pytest.raises(LanguageModelError, match="no answer within 10 s"):
        written(model_of(server))


def test_a_connection_that_breaks_is_told(server: LanguageServer) -> None:
    reply = stream("a", "b")
    reply.parts, reply.headers = reply.parts[:2], {"Content-Length": "9999"}
    server.replies = [reply]
    with pytest.raises(LanguageModelError, match=r"Check that it runs and LLM_URL"):
        written(model_of(server))


def test_a_model_is_named_by_url_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert language_model(load_settings()) is None
    monkeypatch.setenv("LLM_URL", "http://localhost:11434/v1")
    with pytest.raises(SettingError, match=r"^LLM_MODEL: it is not set, and the other one is"):
        language_model(load_settings())
    monkeypatch.setenv("LLM_MODEL", "llama3.2")
    monkeypatch.setenv("LLM_API_KEY", KEY)
    monkeypatch.setenv("ML_ASSETS_ANSWER_TIMEOUT", "7")
    model = language_model(load_settings())
    assert model == LanguageModel("http://localhost:11434/v1", "llama3.2", KEY, 7)
    assert KEY not in repr(model) + repr(load_settings())
    monkeypatch.delenv("LLM_URL")
    with pytest.raises(SettingError, match=r"^LLM_URL: it is not set"):
        language_model(load_settings())
    monkeypatch.setenv("LLM_URL", "localhost:11434")
    with pytest.raises(SettingError, match=r"LLM_URL: it is not a URL such as http://localhost"):
        load_settings()
