"""Fixtures: a home of its own, and a database of its own, for every test that asks."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import hypothesis
import psycopg
import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage

from ml_assets.settings import Settings, load_settings
from ml_assets.stores import postgres
from ml_assets_tests.corpus import deployment, kept_deployment, tracking, trained
from ml_assets_tests.servers import OLDEST_POSTGRES, application_server

__all__ = ["deployment", "kept_deployment", "tracking", "trained"]


# A busy machine is not a slow function.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

SLOW_FIXTURES = {
    *(
        "postgres_server",
        "redis_url",
        "cluster_url",
        "memcached_url",
        "dynamodb_endpoint",
        "chroma_server",
        "clickhouse_url",
        "server",
        "other_server",
    ),
    *("reference", "exact", "exported", "exported_models"),
    *("instance", "project", "clone"),
}
SLOW_MODULES = (
    *("monitoring/test_predictions.py", "monitoring/test_spool.py", "monitoring/test_exporter.py"),
    *("integration/", "test_docker.py", "test_bench", "test_contracts.py"),
    *("defs/test_dead_runs.py", "defs/test_instance.py", "defs/training/test_assets.py"),
    *("embeddings/", "search/answering/test_rerank.py", "search/answering/test_readers.py"),
    *("stores/test_clickhouse.py", "stores/test_mlflow.py", "stores/test_duckdb.py"),
    *("stores/test_migrations.py", "stores/test_postgres_", "stores/test_chroma.py"),
    *("stores/embedded/", "stores/test_outages.py", "documents/sources/databases/"),
    *("documents/sources/test_object_stores.py", "documents/sources/test_python_environment.py"),
    *("documents/formats/test_extraction.py", "features/test_join.py"),
    "answers/test_real_model.py",
)


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests are slow, start with them, and keep together what shares a fixture.

    Slow is what starts a server or another process, loads a model, or opens Dagster, itself or by a
    fixture: `make test-quick` leaves that out. A worker that has nothing but a long test to run at
    the end leaves the others idle. Tests that share a fixture of their module or package run in one
    worker, in their order, and it is made once.
    """
    for item in items:
        module = item.path.relative_to(Path(__file__).parent).as_posix()
        fixtures = getattr(item, "fixturenames", ())
        if module.startswith(SLOW_MODULES) or not SLOW_FIXTURES.isdisjoint(fixtures):
            item.add_marker(pytest.mark.slow)
        scopes = _scopes(item)
        if "package" in scopes:
            item.add_marker(pytest.mark.xdist_group(module.rpartition("/")[0]))
        elif "module" in scopes:
            item.add_marker(pytest.mark.xdist_group(module))
    items.sort(key=lambda item: "slow" not in item.keywords)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are called as their argument: an archive holds the time, and workers compare names."""
    return argname if isinstance(val, bytes) else None


def _scopes(item: pytest.Item) -> set[str]:
    """The scopes of the fixtures that a test asks for, itself or by another."""
    definitions = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    return {definition.scope for chosen in definitions.values() for definition in chosen}


@pytest.fixture(autouse=True)
def _keep_umask() -> Iterator[None]:
    """The command line closes what it writes to others, for as long as its process lives."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _no_instance_of_another_test() -> Iterator[None]:
    """Dagster asks the instance that was opened last, and fails when that one is gone."""
    with set_defs_state_storage(None):
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches a test."""
    for name in list(os.environ):
        if name.startswith("ML_ASSETS_") or name in _STORE_VARIABLES:
            monkeypatch.delenv(name)


_STORE_VARIABLES = {
    "POSTGRES_URL",
    "POSTGRES_READ_URL",
    "CHROMA_URL",
    "CLICKHOUSE_URL",
    "TIMESERIES_URL",
    "REDIS_URL",
    "MEMCACHED_URL",
    "DYNAMODB_URL",
    "MLFLOW_TRACKING_URI",
    "DUCKDB_PATH",
    "KEYWORD_INDEX_PATH",
    "DAGSTER_HOME",
    "LLM_URL",
    "LLM_MODEL",
    "LLM_API_KEY",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", actor="tester")


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with application_server(tmp_path_factory.mktemp("postgres"), OLDEST_POSTGRES) as urls:
        yield urls


@pytest.fixture(scope="session")
def postgres_admin(_servers: tuple[str, str]) -> str:
    """The URL of the server that all tests of this worker share, as its superuser."""
    return _servers[0]


@pytest.fixture(scope="session")
def postgres_server(_servers: tuple[str, str]) -> str:
    """The URL of that server as the role of the server mode, which is no superuser."""
    return _servers[1]


@pytest.fixture(scope="session")
def _migrated(postgres_server: str) -> str:
    """The name of a migrated database, to be copied."""
    with postgres.connect(postgres.server_url(postgres_server, Path(), "migrated"), Path()):
        return "migrated"


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, postgres_server: str) -> Iterator[str]:
    """The URL of a database of the test's own: empty, unless the test asks for a `connection`."""
    name = f"test_{uuid.uuid4().hex}"
    if "connection" in request.fixturenames:
        template = request.getfixturevalue("_migrated")
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f"create database {name} template {template}")
    yield postgres.server_url(postgres_server, Path(), name)
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def admin_url(postgres_admin: str, postgres_url: str) -> str:
    """The database of the test, as superuser."""
    return urlunsplit(urlsplit(postgres_admin)._replace(path=urlsplit(postgres_url).path))


@pytest.fixture
def superuser(admin_url: str) -> Iterator[postgres.Connection]:
    """A connection to the database of the test for what its role may not do, in `ml_schema`."""
    options = "-c search_path=ml_schema"
    with psycopg.connect(admin_url, autocommit=True, options=options) as opened:
        yield opened


@pytest.fixture
def connection(postgres_url: str) -> Iterator[postgres.Connection]:
    """A connection to a migrated database of the test's own."""
    with postgres.connect(postgres_url, Path()) as opened:
        yield opened
