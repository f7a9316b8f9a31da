from collections.abc import Iterator
from uuid import uuid4

import pytest

from ml_assets_tests.servers import redis_over_tcp
from ml_assets_tests.servers.keyed import AWS, dynamodb_over_http, memcached_over_tcp, redis_cluster


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_over_tcp(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node of a cluster of three."""
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture(scope="session")
def memcached_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with memcached_over_tcp(tmp_path_factory.mktemp("memcached")) as url:
        yield url


@pytest.fixture(scope="session")
def dynamodb_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        dynamodb_over_http(tmp_path_factory.mktemp("dynamodb")) as endpoint,
        pytest.MonkeyPatch.context() as patched,
    ):
        for name, value in AWS.items():
            patched.setenv(name, value)
        yield endpoint


@pytest.fixture
def dynamodb_url(dynamodb_endpoint: str) -> str:
    """A table of the test's own, which is not there yet."""
    return f"dynamodb://eu-west-1/test_{uuid4().hex}?endpoint={dynamodb_endpoint}"
