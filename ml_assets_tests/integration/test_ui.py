"""`ml-assets ui` serves the lineage, and ends when it is told to."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

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


def children(process: int) -> list[int]:
    """The processes that it started, and those that these started."""
    file = Path(f"/proc/{process}/task/{process}/children")
    return [
        each for child in map(int, file.read_text().split()) for each in (child, *children(child))
    ]


def alive(*processes: int) -> list[int]:
    return [process for process in processes if Path(f"/proc/{process}").exists()]


def test_the_ui_in_the_background_shows_every_asset_and_ends_with_all_it_started(
    project: Project,
) -> None:
    """A shell that is no terminal's has background jobs ignore Ctrl-C."""
    port = free_port()
    command = [sys.executable, "-m", "ml_assets.cli", "ui", "--port", str(port)]
    shell = subprocess.Popen(
        ["sh", "-c", '"$@" & echo $!; wait', "sh", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=project.environment,
    )
    assert shell.stdout
    ui = int(shell.stdout.readline())
    started: list[int] = []
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                answer = json.dumps(ask(port, "{ assetNodes { groupName opNames } }"))
                break
            except (urllib.error.URLError, TimeoutError):
                assert shell.poll() is None
                assert time.monotonic() < deadline
                time.sleep(1)
        for name in ("raw_documents", "published_search", "champion_model", "training_metrics"):
            assert name in answer
        started = children(ui)
        assert len(started) > 1
    finally:
        os.kill(ui, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while (left := alive(ui, *started)) and time.monotonic() < deadline:
            time.sleep(0.5)
        for process in left:
            os.kill(process, signal.SIGKILL)
        shell.communicate(timeout=60)
    assert not left
