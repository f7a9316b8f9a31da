"""A remote model, asked of a real server that counts, fails, stalls and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest

from ml_assets.embeddings import endpoint
from ml_assets.embeddings.encoder import ParallelEncoder, load_encoder
from ml_assets.embeddings.runtimes.openai import OpenAIEncoder
from ml_assets.embeddings.space import current_space
from ml_assets.errors import (
    CostError,
    OutageError,
    SettingError,
    SpaceMismatchError,
    UserError,
)
from ml_assets.settings import Settings, load_settings
from ml_assets_tests.embeddings.serving import (
    DIMENSION,
    Answer,
    EmbeddingServer,
    embedding_server,
    raw_vector,
    tokens_of,
)

KEY = "sk-very-secret"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    with embedding_server() as running:
        yield running
        endpoint.close_connections()


def settings_of(server: EmbeddingServer, home: Path, **others: object) -> Settings:
    model = {"embedding_model": "openai:small", "embedding_url": server.url, "embedding_key": KEY}
    return load_settings(home=home, **{**model, **others})


def encoder_of(server: EmbeddingServer, home: Path, **others: object) -> OpenAIEncoder:
    """The encoder, with its dimension known: what the server counts begins with the texts."""
    settings = settings_of(server, home, **others)
    encoder = load_encoder(settings)
    assert isinstance(encoder, OpenAIEncoder)
    assert isinstance(encoder, ParallelEncoder)
    for counted in (server.requests, server.headers, server.paths, server.times, server.answered):
        counted.clear()
    return encoder


def failing(status: int, message: str = "no", headers: dict[str, str] | None = None) -> Answer:
    return status, headers or {}, {"error": {"message": message}}


def only_first(answer: Answer, count: int = 1):  # type: ignore[no-untyped-def]
    return lambda number, texts: answer if number <= count else None


def unit_vectors(texts: list[str]) -> np.ndarray:
    rows = np.array([raw_vector(text) for text in texts], dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_vectors_are_those_of_the_server_in_order_and_of_unit_norm(
    server: EmbeddingServer, tmp_path: Path
) -> None:
    encoder = encoder_of(server, tmp_path, embedding_request_tokens=40)
    texts = [f"text number {n}" for n in range(50)]
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(vectors, unit_vectors(texts), atol=1e-6)
    assert vectors.dtype == np.float32
    assert len(server.requests) > 5
    assert encoder.encode([]).shape == (0, DIMENSION)
    assert set(server.paths) == {"/v1/embeddings"}
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}


def test_a_request_has_no_more_tokens_and_there_are_no_more_of_them_than_set(
    server: EmbeddingServer, tmp_path: Path
) -> None:
    encoder = encoder_of(server, tmp_path, embedding_request_tokens=60, embedding_requests=3)
    server.delay = 0.05
    texts = ["word " * (n % 9 + 1) for n in range(80)]
    encoder.encode(texts)
    assert server.most_at_once == 3
    assert sum(map(len, server.requests)) == 80
    for request in server.requests:
        assert sum(map(encoder.weight, request)) <= 60


def test_the_server_is_told_what_is_a_query_and_what_a_text(
    server: EmbeddingServer, tmp_path: Path
) -> None:
    encoder = encoder_of(server, tmp_path, embedding_input_types=" query, passage ")
    server.input_types.clear()
    server.rule = only_first(failing(413))  # half of them are sent then
    encoder.encode(["a", "b"])
    assert server.input_types == ["passage"] * 3
    server.rule = lambda number, texts: None
    encoder.submit(["c"]).result()
    encoder.encode_queries(["d"])
    assert server.input_types[3:] == ["passage", "query"]
    space = encoder.space
    plain = encoder_of(server, tmp_path)
    server.input_types.clear()
    plain.encode(["a"])
    plain.encode_queries(["a"])
    assert server.input_types == [None, None]
    others = [
        encoder_of(server, tmp_path, embedding_input_types=pair).space
        for pair in ("passage,query", "query,document")
    ]
    assert len({it.space_id for it in (space, plain.space, *others)}) == 4
    assert len([*(tmp_path / "models").glob("remote-*.json")]) == 1


@pytest.mark.parametrize("pair", ["query", "query,", "a,b,c", ",", " "])
def test_input_types_are_a_pair_or_nothing(pair: str) -> None:
    if not pair.strip():
        assert load_settings(embedding_input_types=pair).embedding_input_types == ""
    else:
        with pytest.raises(SettingError, match=r"INPUT_TYPES: it is not a pair of words such as"):
            load_settings(embedding_input_types=pair)


def test_the_dimension_is_asked_for_once_in_a_home(server: EmbeddingServer, tmp_path: Path) -> None:
    settings = settings_of(server, tmp_path)
    assert current_space(settings).dimension == DIMENSION
    assert current_space(settings_of(server, tmp_path)).dimension == DIMENSION
    assert len(server.requests) == 1
    (record,) = (tmp_path / "models").glob("remote-*.json")
    assert KEY not in record.read_text()
    record.write_text("{")  # cut short
    assert current_space(settings_of(server, tmp_path)).dimension == DIMENSION
    assert len(server.requests) == 2


def test_the_space_follows_place_model_prompts_and_dimension_and_no_secret(
    server: EmbeddingServer, tmp_path: Path
) -> None:
    def space_id(**others: object) -> str:
        return current_space(settings_of(server, tmp_path, **others)).space_id

    first = space_id()
    with_password = server.url.replace("http://", "http://user:pass@")
    for same in (
        {"embedding_key": "another"},
        {"embedding_url": f"{server.url}/"},
        {"embedding_url": f"{server.url}/embeddings?api-version=1"},
        {"embedding_url": with_password},
        {"embedding_requests": 2},
    ):
        assert space_id(**same) == first
    others = [
        space_id(embedding_url=server.url.replace("/v1", "/v2")),
        space_id(embedding_model="openai:large"),
        space_id(embedding_dimensions=4),
        space_id(query_prompt="query: "),
        space_id(document_prompt="passage: "),
        space_id(embedding_max_tokens=256),
    ]
    assert len({first, *others}) == 7
    assert "pass" not in repr(
        current_space(settings_of(server, tmp_path, embedding_url=with_password))
    )


def test_fewer_dimensions_are_cut_then_brought_to_unit_norm(
    server: EmbeddingServer, tmp_path: Path
) -> None:
    vectors = encoder_of(server, tmp_path, embedding_dimensions=5).encode(["a", "b"])
    cut = unit_vectors(["a", "b"])[:, :5]
    np.testing.assert_allclose(vectors, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)
    with pytest.raises(
        SettingError, match=r"ML_ASSETS_EMBEDDING_DIMENSIONS.*gives 12 numbers, not"
    ):
        encoder_of(server, tmp_path, embedding_dimensions=13)


def test_prompts_of_queries_and_of_texts_are_sent(server: EmbeddingServer, tmp_path: Path) -> None:
    encoder = encoder_of(server, tmp_path, query_prompt="query: ", document_prompt="passage: ")
    encoder.encode(["x"])
    encoder.encode_queries(["x"])
    encoder.submit(["y"]).result()
    assert server.requests == [["passage: x"], ["query: x"], ["passage: y"]]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529, 408])
def test_a_passing_failure_is_tried_again(
    server: EmbeddingServer, tmp_path: Path, status: int
) -> None:
    encoder = encoder_of(server, tmp_path)
    server.rule = only_first(failing(status), 3)
    np.testing.assert_allclose(encoder.encode(["a"]), unit_vectors(["a"]), atol=1e-6)
    assert len(server.requests) == 4


@pytest.mark.parametrize("told", ["0.3", "date", "ms"])
def test_the_pause_that_the_server_asks_for_is_kept_by_all(
    server: EmbeddingServer, tmp_path: Path, told: str
) -> None:
    encoder = encoder_of(server, tmp_path, embedding_request_tokens=1, embedding_requests=1)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    headers = {
        "0.3": {"Retry-After": "0.3"},
        "ms": {"retry-after-ms": "300"},
        "date": {"Retry-After": date},
    }[told]
    server.rule = only_first(failing(429, headers=headers))
    encoder.encode(["a", "b"])
    first, again, _ = server.times
    assert again - first >= 0.29


def test_other_requests_wait_for_the_pause_too(server: EmbeddingServer, tmp_path: Path) -> None:
    encoder = encoder_of(server, tmp_path, embedding_request_tokens=1, embedding_requests=2)
    server.rule = lambda number, texts: (
        failing(429, headers={"Retry-After": "0.5"}) if number == 1 else None
    )
    encoder.encode([f"text {n}" for n in range(12)])
    # One may have been under way; nothing else was sent before the pause ended.
    early = [moment for moment in server.times if moment - server.times[0] < 0.45]
    assert len(early) <= 3
    assert sorted(server.answered) == sorted(f"text {n}" for n in range(12))


def test_a_rate_limit_is_waited_for_more_often_than_a_failure(
    server: EmbeddingServer, tmp_path: Path
) -> None:
    encoder = encoder_of(server, tmp_path)
    server.rule = only_first(failing(429, headers={"retry-after-ms": "1"}), endpoint.TRIES + 3)
    encoder.encode(["a"])
    assert len(server.requests) == endpoint.TRIES + 4


def test_a_server_that_goes_on_failing_is_an_outage_in_one_line(
    server: EmbeddingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "LONGEST_PAUSE", 0.02)
    encoder = encoder_of(server, tmp_path)
    server.rule = lambda number, texts: failing(503, f"overloaded, {KEY}")
    with pytest.raises(OutageError) as told:
        encoder.encode(["a"])
    assert str(told.value).startswith(f"{server.url}: 503, overloaded, ***. Check that")
    assert len(server.requests) == endpoint.TRIES


def test_a_server_that_stalls_is_not_waited_for_longer_than_set(
    server: EmbeddingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "TRIES", 2)
    encoder = encoder_of(server, tmp_path, embedding_timeout=0.2)
    server.delay = 1.0
    with pytest.raises(OutageError, match=r"no answer within 0\.2 s"):
        encoder.encode(["a"])


def test_a_server_that_is_not_there_is_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "TRIES", 2)
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    settings = load_settings(
        home=tmp_path, embedding_model="openai:x", embedding_url="http://me:secret@127.0.0.1:9/v1"
    )
    with pytest.raises(OutageError, match=r"^http://127\.0\.0\.1:9/v1: .*ML_ASSETS_EMBEDDING_URL"):
        load_encoder(settings)
    endpoint.close_connections()


@pytest.mark.parametrize(
    ("answer", "error", "line"),
    [
        (
            failing(401, f"bad key {KEY}"),
            SettingError,
            r"EMBEDDING_KEY: .*401, bad key \*\*\*\. Set it to",
        ),
        (
            failing(404, "no such model"),
            SettingError,
            "404, no such model. Check ML_ASSETS_EMBEDDING_URL",
        ),
        (failing(402, "pay"), UserError, "402, pay. Top up the account"),
        (
            (429, {}, {"error": {"message": "empty", "code": "insufficient_quota"}}),
            UserError,
            "Top up",
        ),
        (
            failing(429, "later", {"Retry-After": "9999"}),
            UserError,
            "it asks to wait 9999 s. Run again",
        ),
        (
            failing(400, "too long"),
            endpoint.RefusedError,
            "a text is refused: 400, too long. Check",
        ),
        ((422, {}, {"detail": "bad"}), endpoint.RefusedError, "422"),
        ((200, {}, {"data": []}), UserError, "holds no vectors .0 vectors for 1 texts"),
        ((200, {}, b"<html>"), UserError, "holds no vectors"),
        ((200, {}, {"data": [{"embedding": [0.0] * 12}]}), UserError, "only zeros"),
        ((200, {}, {"data": [{"embedding": [None] * 12}]}), UserError, "holds what is no number"),
        ((200, {}, {"error": "loading"}), UserError, "holds no vectors"),
        ((418, {}, b""), SettingError, "418"),
    ],
)
def test_what_no_second_try_mends_is_told_at_once(
    server: EmbeddingServer, tmp_path: Path, answer: Answer, error: type[UserError], line: str
) -> None:
    encoder = encoder_of(server, tmp_path)
    server.rule = lambda number, texts: answer
    with pytest.raises(error, match=line) as told:
        encoder.encode(["a"])
    assert type(told.value) is error
    assert len(server.requests) == 1
    assert KEY not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_server_that_takes_fewer_texts_is_asked_for_fewer_from_then_on(
    server: EmbeddingServer, tmp_path: Path, status: int
) -> None:
    encoder = encoder_of(server, tmp_path)
    server.rule = lambda number, texts: failing(status) if len(texts) > 4 else None
    texts = [f"text {n}" for n in range(19)]
    np.testing.assert_allclose(encoder.encode(texts), unit_vectors(texts), atol=1e-6)
    refused = [request for request in server.requests if len(request) > 4]
    assert list(map(len, refused)) == [19, 10, 5]
    assert sorted(server.answered) == sorted(texts)  # none twice
    encoder.encode(texts)
    assert len([request for request in server.requests if len(request) > 4]) == 3


def test_a_model_that_changed_its_dimension_is_refused(
    server: EmbeddingServer, tmp_path: Path
) -> None:
    encoder = encoder_of(server, tmp_path)
    server.rule = lambda number, texts: (200, {}, {"data": [{"embedding": [1.0] * 20}]})
    with pytest.raises(SpaceMismatchError, match="gives 20 numbers, and gave 12 before"):
        encoder.encode(["a"])


def test_a_run_stops_before_it_costs_more_than_it_may(
    server: EmbeddingServer, tmp_path: Path
) -> None:
    most = 0.002
    encoder = encoder_of(
        server,
        tmp_path,
        embedding_price=10,
        embedding_max_cost=most,
        embedding_request_tokens=30,
        embedding_requests=4,
    )
    with pytest.raises(
        CostError, match=r"ML_ASSETS_EMBEDDING_MAX_COST: after .* could exceed 0\.002"
    ):
        encoder.encode([f"one two three four {n}" for n in range(100)])
    paid = sum(map(tokens_of, server.answered))
    assert encoder.meter.tokens == paid
    assert 0 < paid * 10 / 1e6 <= most
    # The next job has a meter of its own.
    load_encoder(settings_of(server, tmp_path, embedding_price=10, embedding_max_cost=most)).encode(
        ["a"]
    )


def test_what_a_server_does_not_count_is_estimated(server: EmbeddingServer, tmp_path: Path) -> None:
    encoder = encoder_of(server, tmp_path, embedding_price=1)
    server.rule = lambda number, texts: (200, {}, {"data": server.vectors(texts)["data"]})
    encoder.encode(["one two three"])
    assert encoder.meter.tokens >= 5


def test_the_settings_are_checked_and_masked(server: EmbeddingServer, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"EMBEDDING_URL: it is not a URL such as"):
        load_settings(embedding_url="localhost:8000")
    with pytest.raises(SettingError, match=r"EMBEDDING_MAX_COST: it needs the price"):
        load_settings(embedding_max_cost=1)
    with pytest.raises(SettingError, match=r"EMBEDDING_MODEL: 'openai:' is followed by no model"):
        current_space(load_settings(embedding_model="openai:", home=tmp_path))
    settings = settings_of(server, tmp_path)
    shown = (
        repr(settings) + json.dumps(settings.model_dump(mode="json")) + repr(load_encoder(settings))
    )
    assert KEY not in shown
