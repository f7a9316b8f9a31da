import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from ml_assets.stores import metrics, postgres
from ml_assets.stores.metrics import MetricStore, postgresql
from ml_assets_tests.stores.metrics.opening import PGLITE, TIMESCALEDB

STORES = ["clickhouse", "timeseries"]


@pytest.fixture(params=STORES, scope="module")
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MetricStore]:
    """One store for all tests of a module; each writes metrics of other names."""
    url = None if request.param == "clickhouse" else request.getfixturevalue("database")
    with metrics.connect(request.param, url, tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database: of plain PostgreSQL, or of what `make test-servers` started."""
    if url := os.environ.get(PGLITE):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(postgresql, "AT_ONCE", 1000)  # it does not outlive long messages
            yield url
        return
    server = os.environ.get(TIMESCALEDB) or request.getfixturevalue("postgres_server")
    name = f"metrics_{uuid4().hex}"
    yield postgres.server_url(server, Path(), name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")
