"""Real engines that are no Debian package or wheel, below the tests that others run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ml_assets_tests.servers.buckets import AZURITE
from ml_assets_tests.servers.documentdb import documentdb_over_tcp
from ml_assets_tests.servers.keyed import DYNALITE
from ml_assets_tests.servers.starting import (
    CACHE,
    AbsentError,
    end,
    find_program,
    free_port,
    launch,
    listens,
    wait_until,
)
from ml_assets_tests.servers.timeseries import (
    influxdb_over_http,
    pglite_over_tcp,
    timescaledb_over_tcp,
    victoria_over_http,
)
from ml_assets_tests.stores.metrics.opening import INFLUXDB, PGLITE, TIMESCALEDB, VICTORIA

_AZURITE = "azurite@3.35.0"
_DYNALITE = "dynalite@4.0.0"


def mongodb(root: Path) -> str:
    """The tests of the source `mongodb` on DocumentDB instead of mongomock."""
    with documentdb_over_tcp() as url:
        test = "ml_assets_tests/documents/sources/databases/test_mongodb.py"
        return f"{tested(test, root, {'DOCUMENTDB': url})} on DocumentDB"


def buckets(root: Path) -> str:
    """The tests of object stores, Azure's among them, which npm has."""
    program = CACHE / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        if not (npm := find_program("npm")):
            raise AbsentError("it needs npm")
        install = [npm, "install", "--silent", "--prefix", str(CACHE / "azurite"), _AZURITE]
        subprocess.run(install, check=True, capture_output=True)
    test = "ml_assets_tests/documents/sources/test_object_stores.py"
    return f"{tested(test, root, {AZURITE: str(program)})} on rclone, fake-gcs-server and Azurite"


def dynamodb(root: Path) -> str:
    """The contract of the online store on dynalite, which is stricter than moto about names."""
    program = CACHE / "dynalite" / "node_modules" / ".bin" / "dynalite"
    if not program.exists():
        if not (npm := find_program("npm")):
            raise AbsentError("it needs npm")
        install = [npm, "install", "--silent", "--prefix", str(CACHE / "dynalite"), _DYNALITE]
        subprocess.run(install, check=True, capture_output=True)
    port, folder = free_port(), root.with_name("dynalite")
    folder.mkdir(parents=True)
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--createTableMs", "0"]
    server = launch(command, folder, folder / "server.log", {})
    try:
        wait_until(lambda: listens(port), server, folder / "server.log")
        url = {DYNALITE: f"http://127.0.0.1:{port}"}
        return f"{tested('ml_assets_tests/stores/online', root, url)} on dynalite"
    finally:
        end(server)


def tested(test: str, root: Path, environment: Mapping[str, str]) -> str:
    """Run a file or a folder of tests; return the last line of pytest.

    Raises:
        RuntimeError: a test fails.
    """
    words = ["-q", "-p", "no:cacheprovider", f"--basetemp={root}", test]
    command = [sys.executable, "-m", "pytest", *words]
    settings = {**os.environ, **environment}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout[-3_000:])
    return done.stdout.strip().splitlines()[-1]


def metrics(root: Path) -> str:
    """The contract of metrics on TimescaleDB, as Debian has it; and on all of it."""
    folder = "ml_assets_tests/stores/metrics"
    with timescaledb_over_tcp(root.with_name("timescaledb")) as url:
        apache = tested(folder, root, {TIMESCALEDB: url})
    lines = [f"{apache} on TimescaleDB (Apache)"]
    for test in ("test_contract.py", "test_timescaledb.py", "test_exercise.py"):
        with pglite_over_tcp(root.with_name("pglite")) as url:
            lines.append(f"{tested(f'{folder}/{test}', root, {PGLITE: url})} on TimescaleDB")
    with (
        influxdb_over_http(root.with_name("influxdb")) as influxdb,
        victoria_over_http(root.with_name("victoria")) as victoria,
    ):
        urls = {INFLUXDB: influxdb, VICTORIA: victoria}
        read_back = tested(f"{folder}/test_influxdb.py", root, urls)
        lines.append(f"{read_back} on InfluxDB and VictoriaMetrics")
    return "; ".join(lines)


ENGINES: Mapping[str, Callable[[Path], str]] = {
    "mongodb": mongodb,
    "buckets": buckets,
    "dynamodb": dynamodb,
    "metrics": metrics,
}
