"""The tools as a client of the protocol sees them: typed, bounded, over HTTP behind the keys."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult, TextContent

from ml_assets.embeddings import encoder, space
from ml_assets.errors import OutageError
from ml_assets.monitoring.spool.segments import list_segments, place_of, read_records
from ml_assets.releases.pointer import present_release
from ml_assets.search.filters.language import NO_FILTER, Condition
from ml_assets.service.admission.keys import create_key, revoke_key
from ml_assets.service.client import Client
from ml_assets.service.mcp.door import Door
from ml_assets.service.mcp.server import create_server, http_app, recorded_tools
from ml_assets.service.mcp.tools import Tools
from ml_assets.session import Session
from ml_assets.stores import postgres
from ml_assets_tests.corpus import MeaningEncoder
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.service.deployed import Deployed


@pytest.fixture
def tools(client: TestClient) -> Tools:
    """On the service of the tests, which answers as a session does."""
    opened = Client("http://127.0.0.1:1")
    opened._http = TestClient(
        client.app, base_url="http://127.0.0.1/v1", raise_server_exceptions=False
    )

    def predict(texts: Sequence[str], request_id: str) -> list[dict[str, float]]:
        return opened.predict(texts, request_id=request_id)

    return Tools(opened, predict)


def in_process(tools: Tools, ask: Callable[[McpClient], Awaitable[None]]) -> None:
    async def run() -> None:
        async with McpClient(create_server(tools)) as client:
            await ask(client)

    asyncio.run(run())


def line(result: CallToolResult) -> str:
    """The error of a tool."""
    (content,) = result.content
    assert result.is_error
    assert isinstance(content, TextContent)
    assert "\n" not in content.text
    return content.text


def test_tools_are_typed_and_only_read(tools: Tools) -> None:
    async def ask(client: McpClient) -> None:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == ["search", "document", "predict", "status"]
        for tool in listed:
            assert tool.description
            assert tool.output_schema
            assert tool.annotations
            assert tool.annotations.read_only_hint
        k = listed[0].input_schema["properties"]["k"]
        assert (k["minimum"], k["maximum"], k["default"]) == (1, 20, 5)
        assert "strangers" in (client.instructions or "")

    in_process(tools, ask)


def test_what_is_found_is_read_and_labelled(tools: Tools, deployed: Deployed) -> None:
    async def ask(client: McpClient) -> None:
        async def answer(tool: str, **given: Any) -> dict[str, Any]:
            result = await client.call_tool(tool, given)
            assert not result.is_error, result.content
            assert result.structured_content
            return result.structured_content

        found = await answer("search", query="w3 w6 w9", k=3, filter='label = "cooking"')
        assert [each["label"] for each in found["documents"]] == ["cooking"] * 3
        assert found["complete"]
        first = found["documents"][0]
        whole = await answer("document", document_id=first["document_id"])
        assert first["text"] in whole["text"]
        assert (whole["characters"], whole["next_offset"]) == (len(whole["text"]), None)
        part = await answer("document", document_id=first["document_id"], offset=2, length=5)
        assert (part["text"], part["next_offset"]) == (whole["text"][2:7], 7)
        labels = await answer("predict", texts=["w3 w6 w9 w30 w60", "w1 w4 w7 w31"])
        assert [each["label"] for each in labels["predictions"]] == ["cooking", "music"]
        status = await answer("status")
        release = present_release(deployed.deployment.connection)
        assert release
        assert status["release"] == release.release_id
        assert status["generation_id"] == release.parts.generation_id
        assert status["model"] == f"{release.parts.model_name}/{release.parts.model_version}"

    in_process(tools, ask)


@pytest.mark.parametrize(
    ("tool", "given", "complaint"),
    [
        ("document", {"document_id": "absent"}, "there is no document 'absent'"),
        ("search", {"query": "w3", "filter": "label ~ 5"}, "search"),
        ("search", {"query": "w3", "filter": 'collection = "none"'}, "none"),
        ("search", {"query": "w3", "k": 21}, "search: k: Input should be less than or equal to 20"),
        ("search", {"query": ""}, "search: query: String should have at least 1 character"),
        ("document", {"document_id": "a", "length": 20_001}, "document: length: Input should be"),
        ("predict", {"texts": []}, "predict: texts: List should have at least 1 item"),
        ("predict", {"texts": ["w"] * 17}, "predict: texts: List should have at most 16 items"),
        ("predict", {"texts": ["w" * 20_001]}, r"predict: texts\.0: String should have at most"),
        ("predict", {"texts": [" "]}, "predict"),
        ("erase", {}, "Unknown tool"),
    ],
)
def test_an_error_is_one_line(
    tools: Tools, tool: str, given: dict[str, Any], complaint: str
) -> None:
    async def ask(client: McpClient) -> None:
        text = line(await client.call_tool(tool, given))
        assert re.search(complaint, text), text

    in_process(tools, ask)


def test_predictions_are_logged_as_those_of_the_service_are(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "load_encoder", lambda _: MeaningEncoder())
    monkeypatch.setattr(space, "current_space", lambda _: SPACE)
    texts, place = (
        ["w3 w6 w9 w30 w60", "w1 w4 w7 w31"],
        place_of(deployed.settings.home, "predictions"),
    )
    before, told = list_segments(place), list[dict[str, Any]]()

    async def ask(client: McpClient) -> None:
        assert "empty" in line(await client.call_tool("predict", {"texts": [" "]}))
        result = await client.call_tool("predict", {"texts": texts})
        assert result.structured_content
        told.append(result.structured_content)

    async def over_both(tools: Tools) -> None:
        server = create_server(tools)
        async with McpClient(server) as client:
            await ask(client)
        async with over_http(server, deployed) as http, http() as transport:
            address = "http://127.0.0.1/mcp"
            async with McpClient(streamable_http_client(address, http_client=transport)) as client:
                await ask(client)

    with recorded_tools(Session(deployed.settings), deployed.settings) as tools:
        asyncio.run(over_both(tools))
    (segment,) = [each for each in list_segments(place) if each not in before]
    records = read_records(segment.path)[0]
    release = present_release(deployed.deployment.connection)
    assert release
    expected = [
        (answer["request_id"], position, each["label"], each["probabilities"])
        for answer in told
        for position, each in enumerate(answer["predictions"])
    ]
    assert len({answer["request_id"] for answer in told}) == 2
    assert expected == [
        (row["request_id"], row["position"], row["label"], row["probabilities"]) for row in records
    ]
    for row in records:
        assert (row["release_id"], row["version"]) == (release.release_id, 1)
        assert row["text_hash"] == sha256(texts[row["position"]].encode()).hexdigest()
        assert row["features"]["document_text__words"] > 0
        assert row["latency_ms"] > 0


def test_a_defect_tells_nothing(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a secret")

    async def ask(client: McpClient) -> None:
        monkeypatch.setattr(tools._deployment, "search", fail)
        assert (
            line(await client.call_tool("search", {"query": "w3"})) == "Error executing tool search"
        )

        def away(*_: Any, **__: Any) -> None:
            raise OutageError("it is\ndown", where="postgres", do="Start it")

        monkeypatch.setattr(tools._deployment, "search", away)
        told = line(await client.call_tool("search", {"query": "w3"}))
        assert told.endswith("postgres: it is down. Start it")

    in_process(tools, ask)


def test_outputs_are_bounded(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    class Long:
        document_id = title = collection = "x"
        url = label = relevance = created_at = None
        metadata = MappingProxyType[str, Any]({})
        text = "w" * 50_000

    class Result:
        hits, complete, behind = [Long()], True, 0

    async def ask(client: McpClient) -> None:
        def search(*_: Any, filters: Condition | str, **__: Any) -> Result:
            assert filters == NO_FILTER, "a session takes an empty text for a mistake"
            return Result()

        monkeypatch.setattr(tools._deployment, "search", search)
        monkeypatch.setattr(tools._deployment, "document", lambda _: Long())
        monkeypatch.setattr(tools._deployment, "release", lambda: None)
        found = (await client.call_tool("search", {"query": "w"})).structured_content
        assert found
        assert len(found["documents"][0]["text"]) == 1_500
        part = (await client.call_tool("document", {"document_id": "x"})).structured_content
        assert part
        assert (len(part["text"]), part["next_offset"], part["characters"]) == (
            8_000,
            8_000,
            50_000,
        )
        status = (await client.call_tool("status", {})).structured_content
        assert status
        assert (status["release"], status["model"]) == (None, None)

    in_process(tools, ask)


@asynccontextmanager
async def over_http(
    server: MCPServer[Any], deployed: Deployed, host: str = "127.0.0.1", **changed: Any
) -> AsyncIterator[Callable[..., httpx2.AsyncClient]]:
    """What makes clients of a server over HTTP, with these headers."""
    settings = deployed.settings.model_copy(update=changed)
    async with AsyncExitStack() as stack:
        door = stack.enter_context(Door.of(settings))
        transport = httpx2.ASGITransport(app=http_app(server, door, settings))
        await stack.enter_async_context(server.session_manager.run())

        def client(**headers: str) -> httpx2.AsyncClient:
            return httpx2.AsyncClient(
                transport=transport, base_url=f"http://{host}", headers=headers
            )

        yield client


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@pytest.mark.usefixtures("_no_keys")
def test_over_http_it_is_asked_with_a_key(tools: Tools, deployed: Deployed) -> None:
    connection = deployed.deployment.connection

    async def run() -> None:
        async with over_http(create_server(tools), deployed) as client:

            async def code(**headers: str) -> int:
                async with client(accept="application/json", **headers) as http:
                    return (await http.post("/mcp", json=CALL)).status_code

            async def tools_for(**headers: str) -> int:
                async with (
                    client(**headers) as http,
                    McpClient(
                        streamable_http_client("http://127.0.0.1/mcp", http_client=http)
                    ) as asked,
                ):
                    return len((await asked.list_tools()).tools)

            assert await tools_for() == 4
            async with client() as http:
                assert (await http.post("/mcp", content=b"x" * (3 << 20))).status_code == 413
            assert await code(host="example.org") == 403
            assert await code(origin="https://example.org") == 403
            key = create_key(connection, "model", "viewer", ["read"], "tester")
            other = create_key(connection, "thumbs", "viewer", ["feedback"], "tester")
            assert await code() == 401
            assert await code(authorization="Bearer mla_0_0") == 401
            assert await code(authorization=f"Bearer {other}") == 403
            assert await tools_for(authorization=f"Bearer {key}", host="example.org") == 4
            revoke_key(connection, key.split("_")[1], "tester")
            assert await code(authorization=f"Bearer {key}") == 401

    asyncio.run(run())


def test_a_rate_holds_and_a_store_that_is_away_is_told(
    tools: Tools, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with (
            over_http(create_server(tools), deployed, service_rate="1/hour") as client,
            client() as http,
        ):
            codes = [(await http.post("/mcp", json=CALL)).status_code for _ in range(2)]
            assert (codes[0] == 429, codes[1]) == (False, 429)

            def away(_: Any) -> None:
                raise OutageError("a secret", where="postgres", do="Start it")

            monkeypatch.setattr(postgres, "connect_reader", away)
            refused = await http.post("/mcp", json=CALL)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
            assert "a secret" not in refused.text

    asyncio.run(run())
