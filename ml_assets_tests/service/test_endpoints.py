"""What the endpoints answer, beside what the rooms say."""

from __future__ import annotations

import base64
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from ml_assets.stores import online
from ml_assets_tests.corpus import MeaningEncoder
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.registry.deciding import ask
from ml_assets_tests.service.deployed import Deployed, OpenService, get, post


def test_a_search_tells_why_each_document_is_there(client: TestClient) -> None:
    found = post(client, "/v1/search", {"query": "w3 w6 w9", "k": 4})
    assert len(found["hits"]) == 4
    assert (found["complete"], found["method"], found["behind"]) == (True, "hybrid", 0)
    assert any(hit["keyword_rank"] for hit in found["hits"])
    assert all(hit["vector_rank"] and -1 <= hit["vector_score"] <= 1 for hit in found["hits"])
    assert get(client, "/v1/search", query="w3 w6 w9", k=4) == found


def test_pages_follow_each_other(client: TestClient) -> None:
    whole = post(client, "/v1/search", {"query": "w3 w6", "k": 6})
    ids = [hit["document_id"] for hit in whole["hits"]]
    first = post(client, "/v1/search", {"query": "w3 w6", "k": 3})
    second = post(client, "/v1/search", {"query": "w3 w6", "k": 3, "offset": first["next"]})
    assert [hit["document_id"] for hit in first["hits"] + second["hits"]] == ids
    last = post(client, "/v1/search", {"query": "w3", "k": 10, "offset": 95})
    assert last["next"] is None


@pytest.mark.parametrize("method", ["keyword", "vector"])
def test_filters_hold(client: TestClient, method: str) -> None:
    asked = {"query": "w3 w6", "label": ["music"], "method": method, "filter": 'label != "sport"'}
    found = post(client, "/v1/search", asked)
    assert {hit["label"] for hit in found["hits"]} <= {"music"}
    assert found["filters"] == 'label = "music" and (not label = "sport")' or found["filters"]
    assert get(client, "/v1/search", **asked)["hits"] == found["hits"]


def test_similar_documents_are_others(client: TestClient) -> None:
    found = get(client, "/v1/similar/document-0003", k=5)
    ids = [hit["document_id"] for hit in found["hits"]]
    assert len(ids) == 5
    assert "document-0003" not in ids
    assert get(client, "/v1/similar/absent", 404)["error"]["code"] == "not_found"


def test_a_document_comes_with_its_history(client: TestClient) -> None:
    found = get(client, "/v1/documents/document-0003")
    assert found["document"]["document_id"] == "document-0003"
    assert found["history"][0]["action"] == "added"
    refused = client.get("/v1/documents/absent", headers={"X-Request-ID": "mine-1"})
    assert refused.status_code == 404
    assert refused.headers["X-Request-ID"] == "mine-1"
    assert refused.json()["error"]["request_id"] == "mine-1"


def test_a_prediction_is_that_of_the_champion(client: TestClient, deployed: Deployed) -> None:
    texts = ["w3 w6 w9 w30 w60", "w1 w4 w7 w31"]
    service = client.app.state.service  # type: ignore[attr-defined]
    answer = post(client, "/v1/predict", {"texts": texts})
    assert [each["label"] for each in answer["predictions"]] == ["cooking", "music"]
    expected = ask(deployed.deployment, texts)
    for given, known in zip(answer["predictions"], expected, strict=True):
        assert given["probabilities"] == pytest.approx(known, abs=1e-6)
        assert given["probability"] == next(iter(given["probabilities"].values()))
        assert given["features"]["document_text__words"] > 0
    assert answer["model"].startswith("document_classifier/")
    before = service.cache.statistics()["predictions"].hits
    assert post(client, "/v1/predict", {"texts": texts}) == answer
    assert service.cache.statistics()["predictions"].hits == before + 2
    assert post(client, "/v1/predict", {"texts": [" \n"]}, 422)["error"]["code"] == "source"


def test_features_are_those_of_the_online_store(client: TestClient) -> None:
    answer = get(client, "/v1/features/document_text/document-0003")
    assert answer["values"]["words"] > 0
    assert get(client, "/v1/features/document_text/absent", 404)["error"]["code"] == "not_found"
    assert get(client, "/v1/features/absent/x", 404)["error"]["code"] == "feature_view"


def test_each_lane_opens_the_online_store_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, open_store = [], online._OPEN["sqlite"]

    def counted(url: str) -> AbstractContextManager[online.OnlineStore]:
        opened.append(url)
        return open_store(url)

    monkeypatch.setitem(online._OPEN, "sqlite", counted)
    for _ in range(4):
        get(client, "/v1/features/document_text/document-0003")
        post(client, "/v1/features", {"text": "w1", "metadata": {"collection": "all"}})
    lanes = client.app.state.service.settings.service_lanes  # type: ignore[attr-defined]
    assert len(opened) <= lanes == 2


def test_what_a_prediction_is_told_is_of_each_text(client: TestClient) -> None:
    asked = {"texts": ["w3 w6", "w1"], "metadata": [{"author": 7}, {}]}
    answer = post(client, "/v1/predict", asked)
    assert [each["unknown"] for each in answer["predictions"]] == [{}, {}]
    refused = post(client, "/v1/predict", {**asked, "metadata": [{}]}, 422)
    assert "metadata of 1 texts, and 2 texts" in refused["error"]["message"]


def test_vectors_name_their_space(client: TestClient) -> None:
    texts = ["w3 w6", "w1"]
    expected = MeaningEncoder().encode(texts)
    answer = post(client, "/v1/embed", {"texts": texts})
    assert answer["space_id"] == SPACE.space_id
    assert np.allclose(answer["vectors"], expected)
    plain = post(client, "/v1/embeddings", {"input": texts, "model": "any"})
    assert np.allclose([row["embedding"] for row in plain["data"]], expected)
    assert plain["usage"]["total_tokens"] > 2
    packed = post(client, "/v1/embeddings", {"input": "w1", "encoding_format": "base64"})
    (row,) = packed["data"]
    assert np.allclose(np.frombuffer(base64.b64decode(row["embedding"]), "<f4"), expected[1])
    assert post(client, "/v1/embeddings", {"input": "w1", "dimensions": 3}, 422)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/search", {"query": ""}, "query"),
        ("/v1/search", {"query": "x", "k": 101}, "k"),
        ("/v1/search", {"query": "x", "offset": 100}, "offset"),
        ("/v1/search", {"query": "x", "absent": 1}, "absent"),
        ("/v1/search", {"query": "x", "filter": "label ="}, "should stand here"),
        ("/v1/search", {"query": "x", "collection": ["nowhere"]}, "nowhere"),
        ("/v1/predict", {"texts": []}, "texts"),
        ("/v1/embed", {"texts": ["x"], "kind": "other"}, "kind"),
        ("/v1/embeddings", {"input": [[1, 2], [3]]}, "check_embedding_ctx_length=False"),
        ("/v1/embeddings", {"input": [1, 2]}, "send texts"),
    ],
)
def test_what_cannot_be_asked_is_said(
    client: TestClient, path: str, body: dict[str, object], said: str
) -> None:
    error = post(client, path, body, 422)["error"]
    assert said in error["message"]
    assert error["request_id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/documents/%00"),
        ("DELETE", "/v1/documents/a%00b"),
        ("GET", "/v1/similar/%00"),
    ],
)
def test_text_that_postgres_does_not_take_is_refused(
    client: TestClient, method: str, path: str
) -> None:
    refused = client.request(method, path)
    assert refused.status_code == 422, refused.text
    assert "NUL" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "given"),
    [
        ("GET", "/nowhere", {}),
        ("PATCH", "/v1/search", {}),
        ("GET", "/v1/release", {"headers": {"Host": "another"}}),
        (
            "POST",
            "/v1/search",
            {"content": b"\xff", "headers": {"Content-Type": "application/json"}},
        ),
        ("POST", "/v1/search", {"content": b" " * (3 << 20)}),
        ("GET", "/v1/documents/%00", {}),
        ("POST", "/v1/feedback", {"json": {"request_id": "r"}}),
    ],
)
def test_a_refusal_is_a_line_with_a_next_step(
    client: TestClient, method: str, path: str, given: dict[str, Any]
) -> None:
    refused = client.request(method, path, **given)
    assert 400 <= refused.status_code < 500
    error = refused.json()["error"]
    assert error["do"]
    assert "\n" not in error["message"]
    assert "Value error" not in error["message"]


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_told_to_be_json_is_refused_with_the_reason(
    client: TestClient, kind: str | None
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    refused = client.post("/v1/search", content=b'{"query": "w3"}', headers=headers)
    assert refused.status_code == 422
    assert "Content-Type: application/json" in refused.json()["error"]["do"]
    assert "Content-Type" not in post(client, "/v1/search", [], 422)["error"]["do"]


@pytest.mark.parametrize("path", ["/", "/health", "/v1/release", "/v1/search?query=w3", "/nowhere"])
def test_the_head_alone_is_that_of_the_whole(client: TestClient, path: str) -> None:
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.headers["Content-Type"]) == (
        whole.status_code,
        whole.headers["Content-Type"],
    )


def test_a_method_that_is_not_allowed_is_told_the_others(client: TestClient) -> None:
    refused = client.put("/v1/search", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "not_allowed")
    assert refused.headers["Allow"] in ("GET", "POST")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/search", '{"query": "%"}'),
        ("/v1/search", '{"query": "w3", "%": 1}'),
        ("/v1/predict", '{"texts": ["w3"], "metadata": [{"collection": "%"}]}'),
        ("/v1/features", '{"text": "w3", "metadata": {"%": 1}}'),
        ("/v1/documents", '{"documents": [{"id": "a", "text": "w", "metadata": {"%": "%"}}]}'),
    ],
)
def test_half_a_letter_is_no_text(client: TestClient, path: str, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    refused = client.post(path, content=body.replace("%", r"\ud800"), headers=headers)
    assert refused.status_code == 422
    assert "unicode" in refused.json()["error"]["message"]


def test_the_release_is_told_with_who_serves_it(client: TestClient) -> None:
    answer = get(client, "/v1/release")
    assert answer["parts"]["generation_id"]
    assert answer["parts"]["model_version"] == 1
    assert answer["release"] in {each["release_id"] for each in answer["deployments"]}


def test_it_is_alive_ready_and_counted(client: TestClient) -> None:
    assert get(client, "/health") == {"status": "alive"}
    ready = get(client, "/ready")
    assert ready["ready"] is True
    assert set(ready["stores"]) == {"postgres", "online", "index", "search", "model"}
    get(client, "/v1/documents/document-0001")
    metrics = client.get("/metrics").text
    line = 'ml_assets_requests_total{method="GET",route="/v1/documents/{document_id:path}"'
    assert line in metrics
    assert 'ml_assets_store_up{store="postgres"} 1.0' in metrics
    assert "document-0001" not in metrics


def test_every_endpoint_is_described(client: TestClient) -> None:
    described = get(client, "/openapi.json")
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert len(operations) >= 14
    assert all(operation["description"] for operation in operations)
    examples = [
        name for name, schema in described["components"]["schemas"].items() if "examples" in schema
    ]
    assert {"SearchRequest", "PredictRequest", "EmbedRequest", "PushRequest"} <= set(examples)


def test_it_opens_neither_duckdb_nor_chdb(
    open_service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def note(*given: object, **more: object) -> None:
        opened.append(given or more)

    # A run has them open: each takes one process at a time.
    monkeypatch.setattr("duckdb.connect", note)
    monkeypatch.setattr("clickhouse_connect.get_client", note)
    with open_service(prediction_cache_seconds=0) as client:
        post(client, "/v1/search", {"query": "w3 w6"})
        get(client, "/v1/similar/document-0003")
        get(client, "/v1/documents/document-0003")
        post(client, "/v1/predict", {"texts": ["w3 w6"]})
        post(client, "/v1/feedback", {"request_id": "r-1", "correct": True}, 202)
        post(client, "/v1/features", {"text": "w3 w6"})
        get(client, "/v1/features/document_text/document-0003")
        get(client, "/v1/release")
        get(client, "/ready")
    assert opened == []
