"""The servers of the list as processes of this machine, killed and started again by name."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from ml_assets.settings import Settings, load_settings
from ml_assets.stores.postgres.programs import binaries
from ml_assets_tests.integration.forking import OURS
from ml_assets_tests.paths import PROJECT
from ml_assets_tests.servers.postgres import (
    Postgres,
    data_folder,
    find_postgres,
    initialize,
    install_package,
    make_role,
    serve_command,
)
from ml_assets_tests.servers.stack import (
    ML_ASSETS,
    PORTS,
    ROLE,
    STACK,
    environment,
    places_here,
    put,
)
from ml_assets_tests.servers.starting import (
    end,
    find_program,
    free_port,
    launch,
    listens,
    wait_until,
)

POSTGRES = "17"
"""The version of compose, on which the whole stack runs."""

MOST_CONNECTIONS = 30
"""Of PostgreSQL, in which all servers, two runs and the UI must find their place; the service has
twice its lanes while it takes a release over."""

_SERVERS = {server.name: server for server in STACK}
_QUIET = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}


@dataclass
class Stack:
    """The servers that run, below one folder; after `patience` seconds they have to converge."""

    root: Path
    postgres: Postgres
    data: Path
    places: dict[str, str]
    settings_of_tests: dict[str, str]
    patience: float = 180
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a server, and wait until it is healthy; what ends by itself must end well."""
        server, log = _SERVERS[name], self.root / "logs" / f"{name}.log"
        command = [*put(server.command, self.places), *put(server.here, self.places)]
        account: dict[str, Any] = {}
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        if name == "postgres":
            folder, port = self.data, int(self.places["postgres_port"])
            command, account = serve_command(self.postgres, self.data, port)
            command += ["-c", f"max_connections={MOST_CONNECTIONS}"]
        started = launch(command, folder, log, self.environment(name), **account)
        self.running[name] = started
        if server.health:
            wait_until(lambda: self.is_healthy(name), started, log)
        elif started.wait(300):
            raise AssertionError(f"{name} ends with {started.returncode}: {log.read_text()[-500:]}")

    def is_healthy(self, name: str) -> bool:
        """Whether the health check of compose passes."""
        if name in PORTS and not listens(int(self.places[f"{name}_port"])):
            return False  # known without a process
        kind, *words = put(_SERVERS[name].health, self.places)
        command = words if kind == "CMD" else ["/bin/sh", "-c", *words]
        done = subprocess.run(
            command, env=self.environment(name), capture_output=True, check=False, timeout=60
        )
        return done.returncode == 0

    def kill(self, name: str) -> None:
        """End a server and all that it started, at once."""
        end(self.running.pop(name))

    def environment(self, name: str) -> dict[str, str]:
        """The settings of compose, and those of the tests for what reads settings."""
        server = _SERVERS[name]
        theirs = self.settings_of_tests if server.environment is ML_ASSETS else {}
        inherited = {key: value for key, value in os.environ.items() if key not in OURS}
        path = os.pathsep.join(
            [str(Path(sys.executable).parent), str(binaries()), inherited["PATH"]]
        )
        return {
            **inherited,
            **_QUIET,
            "PATH": path,
            "PYTHONPATH": str(PROJECT),
            **environment(server, self.places),
            **theirs,
        }

    @property
    def admin_url(self) -> str:
        """The URL of PostgreSQL as its superuser."""
        place = f"127.0.0.1:{self.places['postgres_port']}"
        return f"postgresql://postgres:{self.places['POSTGRES_PASSWORD']}@{place}/postgres"

    def settings(self) -> Settings:
        """The settings of the code location."""
        values = {**environment(_SERVERS["code"], self.places), **self.settings_of_tests}
        fields = {str(f.validation_alias): name for name, f in Settings.model_fields.items()}
        known = {fields.get(k, k.removeprefix("ML_ASSETS_").lower()): v for k, v in values.items()}
        return load_settings(**{k: v for k, v in known.items() if k in Settings.model_fields})

    def rows(self, database: str, query: str) -> list[Any]:
        """What a database of the application says."""
        url = (
            f"postgresql://{ROLE}:{self.places['ML_ASSETS_DB_PASSWORD']}"
            f"@127.0.0.1:{self.places['postgres_port']}/{database}"
        )
        with psycopg.connect(url, connect_timeout=10) as connection:
            return connection.execute(query).fetchall()


@contextmanager
def stack(
    root: Path, version: str = POSTGRES, module: str = "ml_assets.definitions", **settings: str
) -> Iterator[Stack]:
    """The folder and the PostgreSQL of a stack, with its role; all that was started ends with it.

    Raises:
        AbsentError: this version of PostgreSQL cannot be had here.
    """
    postgres = find_postgres(version)
    ports = {name: free_port() for name in PORTS}
    where = places_here(root, ports, source=settings.get("ML_ASSETS_SOURCE", ""), module=module)
    for folder in ("data", "logs", "opt/dagster", "mlartifacts", "chroma"):
        (root / folder).mkdir(parents=True)
    _configure_dagster(root, ports["code"])
    with ExitStack() as opened:
        data = opened.enter_context(data_folder(postgres, root))
        initialize(postgres, data, where["POSTGRES_PASSWORD"])
        running = Stack(root, postgres, data, where, settings)
        opened.callback(_end_all, running)
        running.start("postgres")
        passwords = where["POSTGRES_PASSWORD"], where["ML_ASSETS_DB_PASSWORD"]
        make_role(ports["postgres"], *passwords)
        yield running


def start_rest(running: Stack, report: Callable[[str], None]) -> None:
    """Start what compose starts, in the order of what comes after what."""
    if not find_program("redis-server"):
        install_package("redis-server")
    for server in STACK:
        if server.absent:
            report(f"absent  {server.name}: {server.absent}")
        elif server.name not in running.running:
            began = time.monotonic()
            running.start(server.name)
            report(f"passed  {server.name} starts ({time.monotonic() - began:.1f} s)")


def _end_all(running: Stack) -> None:
    """Of what was started last first; PostgreSQL, in whose databases the others write, at last."""
    for name in reversed([*running.running]):
        running.kill(name)


def _configure_dagster(root: Path, port: int) -> None:
    """The files of docker/ for Dagster, with the places of this machine and shorter waits."""
    changes = {
        "dagster.yaml": {
            "/logs": f"{root}/logs/compute",
            "free_slots_after_run_end_seconds: 60": "free_slots_after_run_end_seconds: 5",
            "poll_interval_seconds: 10": "poll_interval_seconds: 5",
        }
    }
    changes["workspace.yaml"] = {"host: code": "host: 127.0.0.1", "port: 4000": f"port: {port}"}
    for name, places in changes.items():
        text = (PROJECT / "docker" / name).read_text()
        for old, new in places.items():
            assert old in text, f"{name}: no {old!r}"
            text = text.replace(old, new)
        (root / "opt" / "dagster" / name).write_text(text)
