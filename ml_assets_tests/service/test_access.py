"""Who may ask, how much and how often, and what is never told."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ml_assets.errors import NothingToDoError, SettingError, UserError
from ml_assets.releases.audit import read_entries
from ml_assets.service import server
from ml_assets.service.admission.counters import SqliteStorage
from ml_assets.service.admission.keys import create_key, match, read_keys, revoke_key
from ml_assets.service.admission.rates import Rates
from ml_assets.service.guard import JsonLines, is_local
from ml_assets.service.routes import search as searching
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets_tests.service.deployed import Deployed, OpenService, get, post, soon


def test_a_key_is_shown_once_and_kept_as_a_hash(connection: postgres.Connection) -> None:
    shown = create_key(connection, "ann", "viewer", ["read"], "tester")
    (key,) = read_keys(connection)
    assert (key.name, key.role, key.scopes) == ("ann", "viewer", ["read"])
    (stored,) = connection.execute("select to_jsonb(k)::text from api_keys k").fetchone() or ("",)
    assert shown.rpartition("_")[2] not in stored
    known = {key.key_id: key}
    assert match(shown, known) == key
    wrong = (shown[:-1], shown + "x", shown.upper(), "", "mla__", f"mla_{key.key_id}_", "x" + shown)
    assert not any(match(each, known) for each in wrong)
    revoke_key(connection, key.key_id, "tester")
    assert match(shown, {each.key_id: each for each in read_keys(connection)}) is None
    with pytest.raises(NothingToDoError, match="could be revoked"):
        revoke_key(connection, key.key_id, "tester")
    actions = connection.execute("select action from model_audit_logs order by entry_id")
    assert actions.fetchall() == [("create key",), ("revoke key",)]


@pytest.mark.parametrize(
    ("name", "role", "only", "said"),
    [
        (" ", "viewer", [], "no name"),
        ("a", "owner", [], "no role 'owner'"),
        ("a", "viewer", ["write"], "a viewer may not 'write'"),
        ("a", "admin", ["all"], "may not 'all'"),
    ],
)
def test_a_key_that_cannot_be_made_is_said(
    connection: postgres.Connection, name: str, role: Any, only: Any, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        create_key(connection, name, role, only, "tester")
    assert read_keys(connection) == []


@pytest.mark.usefixtures("_no_keys")
def test_with_keys_nobody_asks_without(deployed: Deployed, open_service: OpenService) -> None:
    connection = deployed.deployment.connection
    with open_service() as client:
        get(client, "/v1/release")
        viewer = create_key(connection, "ann", "viewer", [], "tester")
        soon(lambda: client.get("/v1/release").status_code == 401)
        refused = client.get("/v1/release")
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert client.get("/health").status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/ready").json()["ready"] is True
        headers = {"Authorization": f"Bearer {viewer}"}
        assert client.get("/v1/release", headers=headers).status_code == 200
        assert client.get("/v1/release", headers={"X-API-Key": viewer}).status_code == 200
        assert client.get("/metrics", headers=headers).status_code == 200
        body = {"documents": [{"id": "x", "text": "y"}]}
        for _ in range(3):
            assert client.post("/v1/documents", json=body, headers=headers).status_code == 403
        (key,) = read_keys(connection)
        revoke_key(connection, key.key_id, "tester")
        took = soon(lambda: client.get("/v1/release", headers=headers).status_code == 401)
        assert took < 1.5, "a revoked key ends within a second"
        denied = [entry for entry in read_entries(connection, 9) if entry.action == "deny"]
        told = [(entry.actor, entry.subject, entry.reason) for entry in denied]
        reason = "a key of a viewer that may not write"
        assert told == [(f"key/{key.key_id}", "service write", reason)]
        assert str(denied[0].address).startswith("testclient at ")
        # With the last key gone it is not open again.
        assert client.get("/v1/release").status_code == 401


def test_without_keys_pages_of_other_sites_get_nothing(client: TestClient) -> None:
    headers = {"Host": "attacker.example:8080"}
    assert client.get("/v1/release", headers=headers).status_code == 403
    for site, status in (("https://attacker.example", 403), ("http://localhost:3000", 200)):
        assert client.get("/v1/release", headers={"Origin": site}).status_code == status
    plain = {"Content-Type": "text/plain"}  # a page may send it to any site without being asked
    body = b'{"documents": [{"id": "x", "text": "y"}]}'
    assert client.post("/v1/documents", content=body, headers=plain).status_code == 422
    assert (
        "Access-Control-Allow-Origin" not in client.get("/health", headers={"Origin": "x"}).headers
    )
    assert is_local("127.0.0.1:80")
    assert is_local("[::1]:80")
    assert not is_local("localhost.attacker.example")


def test_another_address_needs_a_key(deployed: Deployed) -> None:
    with pytest.raises(SettingError, match="ml-assets keys create"):
        server.serve(deployed.settings, "0.0.0.0", 8080, 1, pytest.fail)  # noqa: S104
    assert server.is_loopback("::1")
    assert server.is_loopback("localhost")
    assert not server.is_loopback("example.org")


def test_processes_count_together(open_service: OpenService) -> None:
    with open_service(service_rate="3/hour") as one, open_service(service_rate="3/hour") as other:
        given = [each.get("/v1/features/absent/x") for each in (one, other, one, other)]
    assert [answer.status_code for answer in given] == [404, 404, 404, 429]
    assert 0 < int(given[-1].headers["Retry-After"]) <= 3600


def test_of_a_high_limit_processes_count_several_at_a_time(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, service_rate="60/hour")
    asked: list[int] = []

    async def let_in(*processes: Rates) -> list[bool]:
        return [await rates.wait("ann") is None for rates in processes]

    async def together(rates: Rates, name: str) -> list[float | None]:
        given = await asyncio.gather(*(rates.wait(name) for _ in range(30)))
        rates.close()
        return given

    with pytest.MonkeyPatch.context() as patch:
        real = SqliteStorage.incr

        def noted(self: SqliteStorage, key: str, expiry: int, amount: int = 1) -> int:
            asked.append(amount)
            return real(self, key, expiry, amount)

        patch.setattr(SqliteStorage, "incr", noted)
        one, other = Rates(settings), Rates(settings)
        given = asyncio.run(let_in(*[one] * 31, *[other] * 30))
        assert given == [True] * 31 + [True] * 27 + [False] * 3, "2 of the first one's are left"
        assert asked == [3] * (11 + 9 + 3)
        asked.clear()
        assert asyncio.run(together(Rates(settings), "bob")) == [None] * 30
        assert asked == [3] * 10, "those who come at once wait for what one of them takes"
        assert asyncio.run(let_in(one, one, one, other)) == [True, True, False, False]
        patch.setattr(time, "time", lambda now=time.time: now() + 3601)
        assert asyncio.run(let_in(other)) == [True], "what was taken ends with its window"
    for rates in (one, other):
        rates.close()


def test_while_the_store_is_away_a_process_counts_alone(open_service: OpenService) -> None:
    away = {"redis_url": "redis://127.0.0.1:1/0", "service_rate": "2/hour"}
    url = load_settings(redis_url=away["redis_url"]).redis_url
    with open_service(redis_url=url, service_rate="2/hour") as client:
        given = [client.get("/v1/documents/absent").status_code for _ in range(3)]
        assert given == [404, 404, 429]
        ready = client.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["stores"]["online"]["ok"] is False
        assert "127.0.0.1:1" in ready.json()["stores"]["online"]["reason"]
    with open_service(redis_url=url, service_rate="") as client:
        refused = client.get("/v1/features/document_text/document-0001")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "127.0.0.1" not in refused.text
        post(client, "/v1/search", {"query": "w3"})  # needs no online store


def test_a_large_body_is_refused_however_it_comes(open_service: OpenService) -> None:
    with open_service(service_body=2000) as client:
        body = json.dumps({"query": "w3", "label": ["x" * 3000]}).encode()
        assert client.post("/v1/search", content=body).status_code == 413
        parts = (body[at : at + 500] for at in range(0, len(body), 500))
        refused = client.post("/v1/search", content=parts)
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "too_large"


def test_what_takes_too_long_is_ended_and_the_next_is_answered(
    open_service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(engine: Any, *_: Any, **__: Any) -> None:
        engine.connection.execute("select pg_sleep(20)")

    with open_service(service_timeout=1.0) as client:
        with monkeypatch.context() as patch:
            patch.setattr(searching, "search_vector", slow)
            started = time.monotonic()
            refused = client.post("/v1/search", json={"query": "w3"})
            assert time.monotonic() - started < 5
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["error"]["code"] == "late"
        soon(lambda: client.post("/v1/search", json={"query": "w3"}).status_code == 200)


def test_more_than_it_can_do_is_refused_at_once(
    open_service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    real = searching.search_vector

    def slow(*given: Any, **more: Any) -> Any:
        time.sleep(0.3)
        return real(*given, **more)

    monkeypatch.setattr(searching, "search_vector", slow)
    with open_service(service_requests=2) as client, ThreadPoolExecutor(6) as threads:
        given = list(
            threads.map(lambda _: client.post("/v1/search", json={"query": "w3"}), range(6))
        )
        assert client.get("/health").status_code == 200
    codes = sorted(answer.status_code for answer in given)
    assert codes == [200, 200, 503, 503, 503, 503]
    refused = next(answer for answer in given if answer.status_code == 503)
    assert refused.json()["error"]["code"] == "busy"
    assert refused.headers["Retry-After"] == "1"


def test_a_defect_tells_the_log_and_nobody_else(
    open_service: OpenService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(searching, "search_vector", fail)
    with caplog.at_level(logging.INFO, "ml_assets"), open_service() as client:
        refused = client.post("/v1/search", json={"query": "private words"})
    assert refused.status_code == 500
    assert "secret inside" not in refused.text
    assert "Traceback" not in refused.text
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    (defect,) = [line for line in lines if "traceback" in line]
    assert "secret inside" in defect["traceback"]
    assert defect["request_id"] == refused.headers["X-Request-ID"]


@pytest.mark.parametrize("wanted", [False, True])
def test_the_log_has_texts_only_where_they_are_wanted(
    open_service: OpenService, caplog: pytest.LogCaptureFixture, wanted: bool
) -> None:
    with (
        caplog.at_level(logging.INFO, "ml_assets"),
        open_service(service_log_texts=wanted) as client,
    ):
        client.get("/v1/search", params={"query": "private words"})
    lines = [JsonLines().format(record) for record in caplog.records]
    (line,) = [json.loads(line) for line in lines if '"request"' in line]
    assert line["route"] == "/v1/search"
    assert line["status"] == 200
    assert line["ms"] > 0
    assert line["release"]
    assert any("private" in each for each in lines) is wanted


def test_a_length_that_no_number_holds_is_too_large(client: TestClient) -> None:
    refused = client.get("/v1/release", headers={"Content-Length": "9" * 5_000})
    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "too_large"
