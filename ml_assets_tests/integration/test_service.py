"""The service as a process of its own: releases come and go, PostgreSQL dies, and it goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from ml_assets.releases import pointer
from ml_assets.releases.audit import Entry
from ml_assets.service.following.deployments import read_deployments
from ml_assets.stores import postgres
from ml_assets_tests.answers.serving import language_server, sentences, stream
from ml_assets_tests.integration.project import Project
from ml_assets_tests.servers.starting import free_port
from ml_assets_tests.service.deployed import soon
from ml_assets_tests.stores.embedded.homes import is_running, kill_server

CLIENTS = 8
TURNS = 10
"""Publishes and rollbacks."""


@contextmanager
def serving(project: Project, log: Path, *options: str, **settings: str) -> Iterator[str]:
    """The URL of a service on the home; it ends well at the end."""
    port = free_port()
    with log.open("w") as file:
        process = project.start_logged(file, "serve", "--port", str(port), *options, **settings)
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/ready").status_code == 200
        except httpx.TransportError:
            return False

    try:
        soon(ready, 120)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
        assert not is_running(project.home), "the last one to use PostgreSQL stops it"
    finally:
        process.kill()
        process.wait()


class Asking:
    """Clients that ask in a loop, each over its own connection, and what they were answered."""

    def __init__(self, url: str) -> None:
        self.codes: Counter[int] = Counter()
        self.seen: set[tuple[int, str]] = set()
        self.refusals: list[str] = []
        self._url, self._ended = url, Event()
        self._threads = [Thread(target=self._ask, args=[number]) for number in range(CLIENTS)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._ended.is_set():
                body = {"query": f"bread and soil {number}", "k": 3}
                answer = client.post("/v1/search", json=body)
                self.codes[answer.status_code] += 1
                if answer.status_code == 200:
                    found = answer.json()
                    self.seen.add((found["release"], found["generation_id"]))
                else:
                    self.refusals.append(answer.text)


@pytest.fixture(scope="module")
def published(project: Project) -> Project:
    """A home in which two generations were published, one after the other."""
    for beam in ("16", "8"):
        project.call("run", "--until", "search", ML_ASSETS_HNSW_M=beam)
    return project


def test_releases_come_and_postgres_goes_under_clients_that_never_stop(
    published: Project, tmp_path: Path
) -> None:
    project, log = published, tmp_path / "serve.log"
    with serving(project, log) as url:
        with postgres.connect(None, project.home) as connection:
            both = {
                release.parts.generation_id for release in pointer.list_releases(connection)
            } - {None}
            assert len(both) == 2
            with Asking(url) as asking:
                waits = []
                for turn in range(TURNS):
                    served = pointer.present_parts(connection).generation_id
                    (other,) = both - {served}
                    if turn % 2 == 0:  # the last one is a publish, which withdraws nothing
                        entry = Entry("tester", "rollback", "search", "test")
                        target = pointer.rollback_target(connection)
                        assert target.parts.generation_id == other
                        pointer.roll_back(connection, target, entry)
                    else:
                        entry = Entry("tester", "publish", f"search/{other}", "test")
                        pointer.publish(
                            connection,
                            lambda parts, to=other: replace(parts, generation_id=to),
                            entry,
                        )
                    present = pointer.present_release(connection)
                    assert present
                    number = present.release_id
                    waits.append(soon(lambda number=number: served_by(url) == number, 30))
            assert asking.codes.keys() == {200}, asking.refusals[:3]
            assert len(asking.seen) >= TURNS
            known = {
                each.release_id: each.parts.generation_id
                for each in pointer.list_releases(connection)
            }
            assert all(known[release] == generation for release, generation in asking.seen)
            # On a machine with something else to do; alone it takes a tenth of a second.
            assert sorted(waits)[len(waits) // 2] < 3
        postgres.stop(project.home)  # the service alone uses it now
        with Asking(url) as asking:
            kill_server(project.home)
            soon(lambda: 503 in asking.codes, 60)
            heard = asking.codes[200]
            soon(lambda: asking.codes[200] > heard + CLIENTS, 120)
            soon(lambda: httpx.get(f"{url}/ready").status_code == 200, 60)
        assert asking.codes.keys() == {200, 503}
        told = {json.loads(text)["error"]["code"] for text in asking.refusals}
        assert told <= {"unavailable", "late", "busy"}
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert not [line for line in lines if "traceback" in line]
    assert "bread and soil" not in log.read_text()


def test_processes_count_together_and_follow_together(published: Project, tmp_path: Path) -> None:
    project, log = published, tmp_path / "serve.log"
    with serving(project, log, "--processes", "2", ML_ASSETS_SERVICE_RATE="40/hour") as url:
        with postgres.connect(None, project.home) as connection:
            soon(lambda: len(read_deployments(connection)) == 2, 60)
            # A connection of its own each: the kernel gives them to both processes.
            path = f"{url}/v1/documents/kitchen-1"
            codes = Counter(httpx.get(path).status_code for _ in range(60))
            assert codes == {200: 40, 429: 20}
            metrics = httpx.get(f"{url}/metrics").text
            counted = {
                line.partition("status=")[2][1:4]: float(line.split()[-1])
                for line in metrics.splitlines()
                if line.startswith("ml_assets_requests_total") and "{document_id:path}" in line
            }
            assert counted == {"200": 40, "429": 20}
            folder = project.home / "service" / "metrics"
            writers = {file.name.rpartition("_")[2] for file in folder.glob("histogram_*.db")}
            assert len(writers) == 2, "both answered"

            entry = Entry("tester", "rollback", "search", "test")
            pointer.roll_back(connection, pointer.rollback_target(connection), entry)
            present = pointer.present_release(connection)
            assert present
            number = present.release_id
            soon(lambda: {each.release_id for each in read_deployments(connection)} == {number}, 30)
        postgres.stop(project.home)  # the service alone uses it now


def served_by(url: str) -> int | None:
    """The release that answers now."""
    answer = httpx.get(f"{url}/v1/release", timeout=60)  # eight clients ask as fast as they can
    number: int | None = answer.json()["release"]
    return number


def publish_other(project: Project) -> None:
    """Publish the generation that is not served."""
    with postgres.connect(None, project.home) as connection:
        served = pointer.present_parts(connection).generation_id
        releases = pointer.list_releases(connection)
        (other,) = {release.parts.generation_id for release in releases} - {None, served}
        entry = Entry("tester", "publish", f"search/{other}", "test")
        pointer.publish(connection, lambda parts: replace(parts, generation_id=other), entry)
    postgres.stop(project.home)  # who uses it otherwise keeps it


def test_a_client_starts_it_over_stdio_and_the_prompt_answers(
    published: Project, tmp_path: Path
) -> None:
    """Of the same home as above: what a person asks at the prompt, an assistant asks as a tool."""
    project = published

    async def ask() -> None:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "ml_assets.cli", "mcp"],
            env=project.environment,
        )
        with (tmp_path / "mcp.log").open("w") as log:
            async with Client(stdio_client(server, errlog=log)) as client:
                assert {tool.name for tool in (await client.list_tools()).tools} >= {"search"}
                found = await client.call_tool("search", {"query": "baking bread", "k": 2})
                assert found.structured_content
                (first, _) = found.structured_content["documents"]
                read = await client.call_tool("document", {"document_id": first["document_id"]})
                assert read.structured_content
                assert first["text"] in read.structured_content["text"]
                failed = await client.call_tool("predict", {"texts": ["About bread."]})
                assert failed.is_error
                assert "no model was promoted" in str(failed.content)
                before = (await client.call_tool("status", {})).structured_content
                publish_other(project)
                after = (await client.call_tool("status", {})).structured_content
                assert before
                assert after
                assert after["generation_id"] != before["generation_id"]
                again = await client.call_tool("search", {"query": "baking bread", "k": 2})
                assert not again.is_error

    asyncio.run(ask())
    assert "Traceback" not in (tmp_path / "mcp.log").read_text()
    with project.start("mcp") as process:
        out, err = process.communicate("", timeout=120)
    assert (out, process.returncode) == ("", 0), err
    shown = project.call("ask", "Who bakes bread with flour?", "-k", "2")
    assert "[1]" in shown
    assert "No language model was asked" in shown
    refused = project.call("ask", "zzz", ML_ASSETS_ANSWER_MIN_RELEVANCE="1")
    assert "no passage that was found is relevant enough" in refused
    with language_server() as server:
        server.replies = [stream(sentences(("About bread.", [1]), ("Trust me.", [9])))]
        given = {"LLM_URL": server.url, "LLM_MODEL": "smol"}
        answer = json.loads(project.call("ask", "Who bakes bread?", "--json", **given))
        assert answer["kind"] == "generated"
        assert [each["mark"] for each in answer["sentences"]][1] == "wrong"
        assert "Trust me. [wrongly cited]" in answer["text"]
    failed = project.call("ask", "Who bakes bread?", code=1, **given)
    assert "it does not answer" in failed
    assert "Traceback" not in failed
