"""Lineage as events of OpenLineage: by its own classes, to a file or a URL, or one line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import UUID

import pytest

from ml_assets.errors import StoreError
from ml_assets.operations.governance.events import as_events, send
from ml_assets.operations.governance.nodes import Lineage, Node

LINEAGE = Lineage(
    Node("version", "1", {"family": "linear"}),
    [Node("training set", "abc", {"documents": 3}), Node("vector space", "s")],
    [Node("release", "2"), Node("release", "3")],
)


def test_each_side_is_an_event() -> None:
    trained, released = as_events(LINEAGE)
    assert trained["eventType"] == "COMPLETE"
    assert trained["job"]["name"] == "train_models"
    assert [each["name"] for each in trained["inputs"]] == ["training_set/abc", "vector_space/s"]
    facet = trained["inputs"][0]["facets"]["documentation"]
    assert facet["description"] == "documents: 3"
    assert [each["name"] for each in trained["outputs"]] == ["version/1"]
    assert released["job"]["name"] == "release"
    assert [each["name"] for each in released["inputs"]] == ["version/1"]
    assert [each["name"] for each in released["outputs"]] == ["release/2", "release/3"]
    runs = [event["run"]["runId"] for event in (trained, released)]
    assert runs == [event["run"]["runId"] for event in as_events(LINEAGE)]
    assert len({UUID(run) for run in runs}) == 2


COLUMN = Lineage(
    Node("column", "topic", {"source": "files:a.csv"}),
    [Node("source", "files:a.csv")],
    [
        Node("table", "documents", {"label": 3}, {"label": ("topic",)}),
        Node("training set", "abc", {}, {"label": ("label",)}, ("created_at",)),
        Node("version", "1", {}, {}, ("label",)),
        Node("release", "2"),
    ],
)


def test_a_column_is_told_by_the_facets_of_the_standard() -> None:
    read, trained, registered, released = as_events(COLUMN)
    source, (documents,) = read["inputs"][0], read["outputs"]
    assert (source["name"], documents["name"]) == ("source/files:a.csv", "table/documents")
    assert [each["name"] for each in source["facets"]["schema"]["fields"]] == ["topic"]
    assert [each["name"] for each in documents["facets"]["schema"]["fields"]] == ["label"]
    direct = {
        "namespace": "ml_assets",
        "name": "source/files:a.csv",
        "field": "topic",
        "transformations": [{"type": "DIRECT"}],
    }
    lineage = documents["facets"]["columnLineage"]
    assert lineage["fields"] == {"label": {"inputFields": [direct]}}
    (made,) = trained["outputs"]
    assert [each["name"] for each in trained["inputs"]] == ["table/documents"]
    (whole,) = made["facets"]["columnLineage"]["dataset"]
    assert (whole["field"], whole["transformations"]) == ("created_at", [{"type": "INDIRECT"}])
    # A catalogue refuses the lineage of a column that no schema has.
    for event in (read, trained, registered):
        known = {
            (given["name"], column["name"])
            for given in (*event["inputs"], *event["outputs"])
            for column in given["facets"].get("schema", {"fields": []})["fields"]
        }
        for given in event["outputs"]:
            told = given["facets"]["columnLineage"]
            assert {(given["name"], column) for column in told["fields"]} <= known
            inputs = [each for field in told["fields"].values() for each in field["inputFields"]]
            assert {(each["name"], each["field"]) for each in [*inputs, *told["dataset"]]} <= known
    assert "columnLineage" not in released["outputs"][0]["facets"]
    assert len({event["run"]["runId"] for event in (read, trained, registered, released)}) == 4


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    for _ in range(2):
        send(as_events(LINEAGE), str(tmp_path / "lineage.jsonl"))
    lines = (tmp_path / "lineage.jsonl").read_text().splitlines()
    assert [json.loads(line)["job"]["name"] for line in lines] == ["train_models", "release"] * 2
    with pytest.raises(StoreError, match="it cannot be written"):
        send(as_events(LINEAGE), str(tmp_path / "absent" / "lineage.jsonl"))


@pytest.fixture
def catalogue() -> Iterator[tuple[str, list[str]]]:
    """A server that takes events at one path, and what it took."""
    taken: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            right = self.path == "/api/v1/lineage"
            if right:
                taken.append(json.loads(body)["job"]["name"])
            self.send_response(201 if right else 404)
            self.end_headers()

        def log_message(self, *given: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_gets_them_posted(catalogue: tuple[str, list[str]]) -> None:
    url, taken = catalogue
    send(as_events(LINEAGE), f"{url}/api/v1/lineage")
    assert taken == ["train_models", "release"]
    with pytest.raises(StoreError, match=r"the lineage is not taken.*404"):
        send(as_events(LINEAGE), url)
    with pytest.raises(StoreError) as caught:
        send(as_events(LINEAGE), "http://ann:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
