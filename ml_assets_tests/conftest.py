"""Fixtures: a home of its own, and a database of its own, for every test that asks."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets_tests.corpus import deployment, tracking, trained

__all__ = ["deployment", "tracking", "trained"]

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches a test."""
    for name in list(os.environ):
        if name.startswith("ML_ASSETS_") or name in _STORE_VARIABLES:
            monkeypatch.delenv(name)


_STORE_VARIABLES = {
    "POSTGRES_URL",
    "CHROMA_URL",
    "CLICKHOUSE_URL",
    "REDIS_URL",
    "MLFLOW_TRACKING_URI",
    "DUCKDB_PATH",
    "KEYWORD_INDEX_PATH",
    "DAGSTER_HOME",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", actor="tester")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of one embedded server that all tests of this worker share."""
    return postgres.server_url(None, tmp_path_factory.mktemp("postgres"))


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a database of the test's own."""
    name = f"test_{uuid.uuid4().hex}"
    url = postgres.server_url(postgres_server, Path(), name)
    yield url
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def connection(postgres_url: str) -> Iterator[postgres.Connection]:
    """A connection to a migrated database of the test's own."""
    with postgres.connect(postgres_url, Path()) as opened:
        yield opened
