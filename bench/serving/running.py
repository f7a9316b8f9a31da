"""The services that are asked: ours, a search by LangChain, and a classifier by MLflow."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench.measure import BIN, PROJECT, clean_environment
from bench.peers import PYTHON
from ml_assets_tests.servers import free_port

_SETTLING = 3.0
"""Seconds that the other processes take after the first one answers."""


@dataclass(frozen=True)
class Service:
    """Where a service answers, and its first process."""

    url: str
    pid: int


@contextmanager
def ours(home: Path, processes: int, log: Path) -> Iterator[Service]:
    """`ml-assets serve` on a home."""
    words = [BIN / "ml-assets", "serve", "--processes", processes, "--port"]
    settings = {"ML_ASSETS_HOME": str(home.resolve())}
    with _running(words, settings, "/ready", log) as service:
        yield service


@contextmanager
def langchain(database: str, state: Path, model: Path, processes: int) -> Iterator[Service]:
    """LangChain's EnsembleRetriever behind FastAPI, of the texts and vectors in `state`."""
    module = "bench.serving.contenders.langchain_service"
    words = [PYTHON, "-m", module, database, state, model, processes]
    with _running(words, {}, "/ready", state / "langchain.log") as service:
        yield service


@contextmanager
def mlflow(state: Path, model: Path, processes: int) -> Iterator[Service]:
    """`mlflow models serve` of a classifier of the labels and vectors in `state`."""
    module = "bench.serving.contenders.mlflow_model"
    fit = [PYTHON, "-m", module, state, model]
    with (state / "fit.log").open("w") as log:
        subprocess.run(
            list(map(str, fit)),
            cwd=PROJECT,
            env=clean_environment({}),
            stdout=log,
            stderr=log,
            check=True,
        )
    options = ["--env-manager", "local", "--workers", processes, "--model-uri", state / "model"]
    words = [PYTHON, "-m", "mlflow", "models", "serve", *options, "--port"]
    # So that it starts its server with the Python of this environment.
    paths = {"PATH": f"{PYTHON.parent}:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(PROJECT)}
    with _running(words, paths, "/ping", state / "mlflow.log") as service:
        yield service


@contextmanager
def _running(
    words: Sequence[object], settings: Mapping[str, str], ready: str, log: Path
) -> Iterator[Service]:
    """Run a command with a free port as its last word, until it answers, and end it.

    Raises:
        SystemExit: it ended by itself.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        log.open("w") as output,
        subprocess.Popen(
            list(map(str, [*words, port])),
            cwd=PROJECT,
            env=clean_environment(settings),
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            while not _answers(url + ready):
                if process.poll() is not None:
                    sys.exit(f"{log.read_text()[-2000:]}\nended with {process.returncode}")
                time.sleep(0.2)
            time.sleep(_SETTLING)
            yield Service(url, process.pid)
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
