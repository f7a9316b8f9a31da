"""A store that does not answer is told apart from one that refuses, and is waited for."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import RESOURCE_EXHAUSTED, TEMPORARILY_UNAVAILABLE
from requests import RequestException

from ml_assets.errors import OutageError, StoreError
from ml_assets.stores import chroma, clickhouse, mlflow, online, postgres
from ml_assets.stores.patience import outages_awaited
from ml_assets_tests.servers import free_port, program, serving
from ml_assets_tests.servers.pages import answering

Connect = Callable[[str, Path], AbstractContextManager[Any]]

STORES: dict[str, tuple[Connect, str]] = {
    "postgres": (postgres.connect, "postgresql://a:b@127.0.0.1:{port}/c"),
    "redis": (online.connect, "redis://127.0.0.1:{port}/0"),
    "chroma": (chroma.connect, "http://127.0.0.1:{port}"),
    "clickhouse": (clickhouse.connect, "http://a:b@127.0.0.1:{port}"),
}


@pytest.mark.parametrize("store", STORES)
def test_a_refused_connection_is_an_outage(store: str, tmp_path: Path) -> None:
    connect, url = STORES[store]
    with pytest.raises(OutageError), connect(url.format(port=free_port()), tmp_path):
        pass


def test_what_postgres_refuses_is_none(postgres_url: str, tmp_path: Path) -> None:
    absent = postgres_url.rpartition("/")[0] + "/absent"
    if "?" in postgres_url:
        absent += "?" + postgres_url.partition("?")[2]
    with pytest.raises(StoreError) as refused, postgres.connect(absent, tmp_path):
        pass
    assert not isinstance(refused.value, OutageError)
    with pytest.raises(OutageError), postgres.connect(postgres_url, tmp_path) as connection:
        connection.execute("select pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    """The port of a Redis server that starts a while later."""
    port, ended = free_port(), threading.Event()
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]

    def serve() -> None:
        ended.wait(1)
        with serving(command, tmp_path, port):
            ended.wait()

    thread = threading.Thread(target=serve)
    thread.start()
    yield port
    ended.set()
    thread.join()


def test_a_server_that_starts_later_is_used_then(redis_port: int, tmp_path: Path) -> None:
    lines: list[str] = []
    url, started = f"redis://127.0.0.1:{redis_port}/0", time.monotonic()
    with outages_awaited(60, lines.append), online.connect(url, tmp_path) as store:
        assert store.revisions("view") == {}
    assert time.monotonic() - started < 30
    (line,) = lines
    assert line.startswith(f"REDIS_URL: 127.0.0.1:{redis_port} cannot be used")
    assert line.endswith("Waiting for it, at most 60 s")


@pytest.fixture
def says(request: pytest.FixtureRequest) -> Iterator[str]:
    """Host and port of a server that answers all that is asked of it by the status of the test."""
    with answering(lambda *_: (request.param, b"no entry")) as place:
        yield place


def ask_mlflow(url: str, home: Path) -> AbstractContextManager[Any]:
    return nullcontext(mlflow.activate(mlflow.tracking(url, None, home)))


BY_HTTP: dict[str, Connect] = {
    "CHROMA_URL": chroma.connect,
    "CLICKHOUSE_URL": clickhouse.connect,
    "MLFLOW_TRACKING_URI": ask_mlflow,
}


@pytest.mark.parametrize("setting", BY_HTTP)
@pytest.mark.parametrize("says", [401, 403, 503], indirect=True)
def test_a_refused_password_is_no_outage(
    says: str, setting: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    refused = request.node.callspec.params["says"] != 503
    with (
        pytest.raises(StoreError) as raised,
        BY_HTTP[setting](f"http://me:hidden@{says}", tmp_path),
    ):
        pass
    line = str(raised.value)
    assert line.startswith(f"{setting}: ")
    assert ("Check user and password" in line) == refused
    assert isinstance(raised.value, OutageError) != refused
    assert "hidden" not in line


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MlflowException("no flavor"), StoreError),
        (MlflowException("x", RESOURCE_EXHAUSTED), StoreError),
        (MlflowException("x", TEMPORARILY_UNAVAILABLE), OutageError),
        (RestException({"error_code": "INTERNAL_ERROR", "message": "x"}), OutageError),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "x"}), StoreError),
        (RequestException("x"), OutageError),
    ],
)
def test_a_mistake_of_mlflow_is_no_outage(error: Exception, kind: type[StoreError]) -> None:
    def failing() -> None:
        with mlflow.explained(mlflow.Tracking("http://x")):
            raise error

    with pytest.raises(StoreError) as raised:
        failing()
    assert type(raised.value) is kind
    wrapped = MlflowException("y")
    wrapped.__cause__ = ConnectionRefusedError("x")
    error = wrapped
    with pytest.raises(OutageError):
        failing()
