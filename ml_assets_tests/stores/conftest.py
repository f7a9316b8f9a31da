from collections.abc import Iterator

import pytest

from ml_assets_tests.servers import redis_over_tcp
from ml_assets_tests.servers.keyed import memcached_over_tcp, redis_cluster


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
