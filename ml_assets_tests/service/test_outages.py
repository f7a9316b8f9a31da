"""Stores on servers are killed under the service, and come back."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from ml_assets_tests.servers import chroma_over_http, free_port, redis_over_tcp
from ml_assets_tests.service.deployed import Deployed, OpenService, get, post, soon

pytestmark = pytest.mark.slow


def tells(client: TestClient, store: str, *, ok: bool) -> None:
    """Wait until /ready says so, and of no other store the contrary."""

    def away() -> set[str]:
        stores = client.get("/ready").json()["stores"]
        return {name for name, each in stores.items() if not each["ok"]}

    soon(lambda: away() == (set() if ok else {store}), 20)
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["ready"]) == ((200, True) if ok else (503, False))
    assert bool(ready.json()["stores"][store]["reason"]) is not ok
    assert client.get("/health").status_code == 200


def test_redis_is_killed_and_comes_back(open_service: OpenService, tmp_path: Path) -> None:
    port = free_port()
    with ExitStack() as server:
        url = SecretStr(server.enter_context(redis_over_tcp(tmp_path, port)))
        with open_service(redis_url=url) as client:
            tells(client, "online", ok=True)
            missing = client.get("/v1/features/document_text/document-0003")
            assert missing.status_code == 404, "it is another store than that of the runs"
            server.close()
            tells(client, "online", ok=False)
            refused = client.get("/v1/features/document_text/document-0003")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert str(port) not in refused.text
            post(client, "/v1/search", {"query": "w3"})
            server.enter_context(redis_over_tcp(tmp_path, port))
            tells(client, "online", ok=True)
            get(client, "/v1/features/document_text/document-0003", 404)


def test_chroma_is_killed_and_comes_back(
    deployed: Deployed, open_service: OpenService, tmp_path: Path
) -> None:
    port = free_port()
    asked = {"query": "w3 w6", "method": "vector"}
    with ExitStack() as server:
        url = SecretStr(server.enter_context(chroma_over_http(tmp_path, port)))
        chosen = {"vector_index": "chroma", "chroma_url": url}
        deployed.publish(deployed.generation(**chosen))
        try:
            with open_service(**chosen) as client:
                tells(client, "index", ok=True)
                found = post(client, "/v1/search", asked)["hits"]
                assert found
                server.close()
                tells(client, "index", ok=False)
                refused = client.post("/v1/search", json=asked)
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
                assert str(port) not in refused.text
                post(client, "/v1/search", {"query": "w3", "method": "keyword"})
                server.enter_context(chroma_over_http(tmp_path, port))
                tells(client, "index", ok=True)
                assert post(client, "/v1/search", asked)["hits"] == found
        finally:
            deployed.publish(deployed.generation())
