"""Server processes: found, started, waited for, and killed with all their children."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

PASSWORD = "tests-only"

CACHE = Path.home() / ".cache" / "ml-assets-tests"
"""The folder of what is made or downloaded once."""


class AbsentError(Exception):
    """A server that cannot be had on this machine; the message says why."""


class NotStartedError(Exception):
    """A server that ended, or did not answer in time; the message has its last words."""


def find_program(name: str) -> str | None:
    """The path of a program: of this environment, else on PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(
    command: Sequence[str | Path],
    folder: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    **account: Any,
) -> subprocess.Popen[bytes]:
    """Start a server in `folder`, out of reach of this terminal's Ctrl-C; it adds to the log."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            **account,
        )


def wait_until(
    ready: Callable[[], bool], server: subprocess.Popen[bytes], log: Path, seconds: float = 300
) -> None:
    """Return when the server is ready; a busy machine may take its time.

    Raises:
        NotStartedError: it ended, or the time is over.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace")[-500:]
            raise NotStartedError(f"{server.args!r} does not start: {words}")
        time.sleep(0.05)


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def kill(pid: int) -> None:
    """End a process and all its children at once, as the kernel ends a container."""
    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(pid)
        server.suspend()  # it can start no further children
        family = [server, *server.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, 30)


def end(server: subprocess.Popen[bytes]) -> None:
    """Kill a server that this process started."""
    kill(server.pid)
    server.wait()
