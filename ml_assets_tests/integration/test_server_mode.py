"""The server mode of docker/compose.yaml as processes: parts are killed, nothing is left over."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from ml_assets_tests.integration.project import write_documents, write_rows
from ml_assets_tests.servers import program
from ml_assets_tests.servers.matrix import whole_stack

KILLED = ["worker:embeddings:1", "chroma:indexes:1"]
"""In the first build, each in another run of it."""


def test_killed_parts_come_back_and_the_stores_are_as_from_scratch(
    tmp_path: Path, exported_models: Path
) -> None:
    for name in ("redis-server", "chroma", "mlflow"):
        program(name)
    file = tmp_path / "notes.jsonl"
    # Without labels: nothing is trained, which takes longest.
    write_rows(file, [{**row, "label": ""} for row in write_documents(file, per_topic=10)])
    lines: list[str] = []
    root, report = tmp_path / "stack", lines.append
    whole_stack(root, "18", file, [], report, exported_models, KILLED)
    assert [line for line in lines if line.startswith("failed")] == []
    done = [line.partition(": ")[0] for line in lines if "from scratch" in line]
    assert done == [f"passed  first build {' '.join(KILLED)}"]
    assert processes_of(tmp_path) == []


def test_two_interrupts_leave_no_server(tmp_path: Path) -> None:
    program("redis-server")
    command = [sys.executable, "-m", "ml_assets_tests.servers", "--postgres", "18", "drive"]
    harness = subprocess.Popen(
        command, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    )
    with harness:
        assert harness.stdout
        while "redis starts" not in (line := harness.stdout.readline()):
            assert line, "the harness ended"
        harness.send_signal(signal.SIGINT)
        harness.send_signal(signal.SIGINT)
        assert harness.wait(60) == 130
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def processes_of(folder: Path) -> list[str]:
    """The commands of processes that were started in a folder, or name it."""
    return [
        json.dumps(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline", "cwd"])
        if str(folder) in f"{process.info['cmdline']} {process.info['cwd']}"
        and process.pid != os.getpid()
    ]
