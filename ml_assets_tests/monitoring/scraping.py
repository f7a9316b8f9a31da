"""A running exporter, and what reads it: a scrape, and a Prometheus with its Alertmanager."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dagster as dg
import pytest
import yaml
from prometheus_client import start_http_server
from prometheus_client.parser import text_string_to_metric_families

from ml_assets.monitoring.exporter import Read, registry_of
from ml_assets.settings import Settings
from ml_assets_tests.paths import PROJECT
from ml_assets_tests.servers import program, serving
from ml_assets_tests.servers.starting import free_port

FOLDER = PROJECT / "docker" / "prometheus"
Samples = dict[str, dict[str, float]]


@contextmanager
def exporter(settings: Settings, more: Mapping[str, Read] | None = None) -> Iterator[int]:
    """The port of an exporter that answers."""
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1", registry_of(settings, more or {}))
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def scrape(port: int) -> Samples:
    """The value of each metric, by its labels as text: `a` or `a/b`, or "" without any."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})["/".join(sample.labels.values())] = sample.value
    return found


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def asked(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.1)


def is_ready(port: int) -> bool:
    with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=10):
        return True
    return False


@dataclass(frozen=True)
class Watched:
    """The URLs of a Prometheus and its Alertmanager."""

    prometheus: str
    manager: str


@contextmanager
def watched(ports: Mapping[str, int], folder: Path) -> Iterator[Watched]:
    """An Alertmanager, and a Prometheus that scrapes these jobs each second."""
    manager, server = free_port(), free_port()
    folder.mkdir()
    for name in ("rules.yml", "alertmanager.yml"):
        shutil.copy(FOLDER / name, folder)
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    (managers,) = config["alerting"]["alertmanagers"]
    managers["static_configs"] = [{"targets": [f"127.0.0.1:{manager}"]}]
    jobs = {each["job_name"]: each for each in config["scrape_configs"]}
    config["scrape_configs"] = [
        {"job_name": jobs[name]["job_name"], "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for name, port in ports.items()
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    told = [
        program("prometheus-alertmanager"),
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/am",
        f"--web.listen-address=127.0.0.1:{manager}",
        "--cluster.listen-address=",
    ]
    watching = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address=127.0.0.1:{server}",
    ]
    with serving(told, folder, manager), serving(watching, folder, server):
        for port in (manager, server):  # it listens before it answers
            wait_for(lambda port=port: is_ready(port))
        yield Watched(f"http://127.0.0.1:{server}", f"http://127.0.0.1:{manager}")
