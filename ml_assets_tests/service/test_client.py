"""The Python client answers as an embedded session does, and its errors are those of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

import ml_assets
from ml_assets.documents.history import read_document
from ml_assets.errors import (
    FeatureViewError,
    NothingToDoError,
    OutageError,
    SettingError,
    SourceError,
    UserError,
)
from ml_assets.search.answering.engine import open_engine, search, similar
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.service.client import Client
from ml_assets.session import Session
from ml_assets_tests.corpus import MeaningEncoder
from ml_assets_tests.registry.deciding import ask
from ml_assets_tests.service.deployed import Deployed


@pytest.fixture
def asked(client: TestClient) -> Client:
    """On the service of the tests, without a port."""
    opened = ml_assets.open(url="http://127.0.0.1:1")
    opened._http = TestClient(
        client.app, base_url="http://127.0.0.1/v1", raise_server_exceptions=False
    )
    return opened


def test_it_has_the_methods_of_a_session() -> None:
    public = {name for name in vars(Session) if not name.startswith("_")}
    # Those of the service are told by /metrics, and what it predicts is logged by itself.
    public -= {"cache_statistics", "served_predictions"}
    assert public <= {name for name in vars(Client) if not name.startswith("_")}


def test_its_answers_are_those_of_the_rooms(asked: Client, deployed: Deployed) -> None:
    connection, indexes = deployed.deployment.connection, Indexes(deployed.settings)
    with open_engine(connection, indexes) as engine:
        filters = 'label = "music" or label = "sport"'
        found = asked.search("w3 w6", k=4, filters=filters)
        expected = search(engine, "w3 w6", MeaningEncoder(), k=4, filters=found.filters)
        assert found == expected
        assert len(found.hits) == 4
        assert asked.similar("document-0001", k=3) == similar(engine, "document-0001", k=3)
    assert asked.document("document-0001") == read_document(connection, "document-0001")
    (given,) = asked.predict(["w3 w6 w9"])
    assert given == pytest.approx(ask(deployed.deployment, ["w3 w6 w9"])[0], abs=1e-6)
    assert list(given.values()) == sorted(given.values(), reverse=True)
    (whole,) = asked.predictions(["w3 w6 w9"], [{"author": 7}])
    assert (whole.probabilities, whole.unknown) == (given, {})
    assert whole.features["document_text__words"] == 3
    assert asked.predict([]) == []
    assert asked.features("document_text", "document-0001")["words"]
    assert len(asked.embed(["w3"])[1]) == 1
    session = Session(deployed.settings)
    assert asked.features_of("w3 w6", "T") == session.features_of("w3 w6", "T")


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda asked: asked.document("absent"), NothingToDoError),
        (lambda asked: asked.document("../release"), NothingToDoError),
        (lambda asked: asked.similar("a/./.."), NothingToDoError),
        (lambda asked: asked.features("absent", "x"), FeatureViewError),
        (lambda asked: asked.features("document_text", "x"), NothingToDoError),
        (lambda asked: asked.predict([" "]), SourceError),
        (lambda asked: asked.features_of(" "), SourceError),
        (lambda asked: asked.search("w3", filters='collection = "none"'), UserError),
        (lambda asked: asked.similar("absent"), NothingToDoError),
        (lambda asked: asked.ticket("00000000-0000-0000-0000-000000000000"), NothingToDoError),
    ],
)
def test_its_errors_are_those_of_a_session(
    asked: Client, call: Callable[[Client], Any], kind: type[UserError]
) -> None:
    with pytest.raises(kind):
        call(asked)


def test_a_busy_service_is_asked_again_and_no_more_than_thrice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ml_assets.service.client.time.sleep", waited := [].append)
    answers: list[httpx.Response] = []
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.headers["authorization"])
        return answers.pop(0)

    error = {"error": {"code": "busy", "message": "m", "do": "d"}}
    busy = [httpx.Response(503, json=error, headers={"Retry-After": "2"}) for _ in range(5)]
    opened = ml_assets.open(url="http://service", key="mla_1_2")
    headers = opened._http.headers
    transport = httpx.MockTransport(answer)
    opened._http = httpx.Client(transport=transport, base_url="http://service/v1", headers=headers)
    answers[:] = [busy[0], httpx.Response(200, json={"values": {"a": 1}})]
    assert opened.features("v", "e") == {"a": 1}
    assert calls == ["Bearer mla_1_2"] * 2
    answers[:] = busy[1:4]
    with pytest.raises(OutageError, match=r"m\. d"):
        opened.features("v", "e")
    assert len(calls) == 5
    # What writes is not sent twice.
    answers[:] = busy[4:]
    with pytest.raises(OutageError):
        opened.push([{"id": "a", "text": "b"}])
    assert len(calls) == 6
    assert waited is not None


def test_what_is_no_service_is_told() -> None:
    with pytest.raises(SettingError, match=r"http://127\.0\.0\.1:8080"):
        ml_assets.open(url="postgresql://host/base")
    with pytest.raises(SettingError, match=r"http://127\.0\.0\.1:8080"):
        ml_assets.open(url="http://host:eighty")
    for key in ("mla_1\n2", "mlä_1"):
        with pytest.raises(SettingError, match="not a key") as refused:
            ml_assets.open(url="http://host", key=key)
        assert key not in str(refused.value)
    with ml_assets.open(url="http://127.0.0.1:1", key=" mla_1_2\n") as opened:
        with pytest.raises(OutageError):
            opened.document("x")
        page = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
        opened._http = httpx.Client(transport=page, base_url="http://another")
        with pytest.raises(OutageError, match="no JSON"):
            opened.document("x")
    assert isinstance(ml_assets.open(Path("home")), Session)
