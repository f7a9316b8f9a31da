"""Servers of the tests' own, on free ports, for the server mode of the stores."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from ml_assets.stores import postgres
from ml_assets.stores.postgres.embedded import as_account, binaries

PASSWORD = "tests-only"

EXPECTED = frozenset({"redis-server", "chroma", "mlflow"})
"""What CI has: the first from Debian (`.ci/run`), the others, and PostgreSQL, from wheels."""


def program(name: str) -> str:
    """The path of a server's program, else skip; CI fails where one that it expects is missing."""
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path:
        return path
    if os.environ.get("CI") and name in EXPECTED:
        pytest.fail(f"no program `{name}`, which CI should have: see .ci/run")
    pytest.skip(f"no program `{name}` on PATH: server mode is tested where there is one")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    """Return when something listens on `port`; a busy machine may take its time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            ended = server.poll() is not None
            if ended or time.monotonic() > deadline:
                pytest.fail(f"{server.args!r} does not start: {log.read_text()[-500:]}")
            time.sleep(0.05)
        else:
            return


@contextmanager
def postgres_over_tcp(folder: Path) -> Iterator[str]:
    """The URL of a PostgreSQL that asks for a password: an embedded one, started another way."""
    home, port, log = folder / "tcp", free_port(), folder / "log"
    with psycopg.connect(postgres.server_url(None, home)) as connection:
        connection.execute(f"alter role postgres password '{PASSWORD}'")
    postgres.stop(home)
    data = home / "postgres"
    (data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", "", "-c", "fsync=off"]
    command = [binaries() / "postgres", "-D", "/proc/self/cwd", *options]
    with log.open("wb") as out:
        server = subprocess.Popen(command, **as_account(data), stdout=out, stderr=out)
    try:
        wait_for(port, server, log)
        yield f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(10)


@contextmanager
def clickhouse_over_http(folder: Path) -> Iterator[str]:
    """The URL of a ClickHouse server."""
    port = free_port()
    options = [f"--path={folder}", f"--http_port={port}", f"--tcp_port={free_port()}"]
    more = ["--mysql_port=0", "--postgresql_port=0"]
    with serving([program("clickhouse"), "server", "--", *options, *more], folder, port):
        yield f"http://default@127.0.0.1:{port}"


@contextmanager
def redis_over_tcp(folder: Path) -> Iterator[str]:
    """The URL of a Redis server that asks for a password."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
    with serving([program("redis-server"), *options], folder, port):
        yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"


@contextmanager
def chroma_over_http(folder: Path) -> Iterator[str]:
    """The URL of a Chroma server."""
    port = free_port()
    options = ["run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with serving([program("chroma"), *options], folder, port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def mlflow_over_http(folder: Path) -> Iterator[str]:
    """The URL of an MLflow tracking server on SQLite."""
    port = free_port()
    options = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    options += ["--artifacts-destination", str(folder / "artifacts"), "--port", str(port)]
    with serving([program("mlflow"), "server", "--host", "127.0.0.1", *options], folder, port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def serving(command: Sequence[str], folder: Path, port: int) -> Iterator[None]:
    """Run a server in `folder` until the end of the block; it must listen on `port`."""
    log = folder / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=out, start_new_session=True
        )
    try:
        wait_for(port, server, log)
        yield
    finally:
        # Some servers are a small family of processes; they end together.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)
