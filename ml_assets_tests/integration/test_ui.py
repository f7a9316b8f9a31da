"""`ml-assets ui` serves the lineage, and ends when it is told to."""

import json
import signal
import time
import urllib.error
import urllib.request

from ml_assets_tests.integration.project import Project
from ml_assets_tests.servers import free_port


def ask(port: int, query: str) -> object:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def test_the_ui_shows_every_asset(project: Project) -> None:
    port = free_port()
    process = project.start("ui", "--port", str(port))
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                answer = json.dumps(ask(port, "{ assetNodes { groupName opNames } }"))
                break
            except (urllib.error.URLError, TimeoutError):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(1)
        for name in ("raw_documents", "published_search", "champion_model", "training_metrics"):
            assert name in answer
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode is not None
