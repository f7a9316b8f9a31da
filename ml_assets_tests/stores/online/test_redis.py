"""What is Redis's own, on a server and on a cluster."""

from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ClusterDownError, ResponseError

from ml_assets.errors import OutageError, StoreError
from ml_assets.stores import cache, online
from ml_assets.stores.redis import connected, refusal
from ml_assets_tests.servers import PASSWORD, free_port, program, serving
from ml_assets_tests.stores.online.opening import ROWS, A, numbered


def test_what_redis_has_of_the_time_before_builds_goes(redis_url: str, tmp_path: Path) -> None:
    with Redis.from_url(redis_url) as client:
        client.flushdb()
        for kind in ("features", "revisions"):
            client.hset(f"ml_assets:{kind}:view_v1", "a", "1")
            client.hset(f"ml_assets:{kind}:view_v2", "a", "1")
        with online.connect(redis_url, tmp_path) as store:
            assert store.views() == []
            store.put_many("view_v1", ROWS)
            store.replace("view_v2", [ROWS], 2)
        assert not list(client.scan_iter("ml_assets:features:*"))
        assert not list(client.scan_iter("ml_assets:revisions:*"))


def test_a_large_view_is_spread_over_the_nodes_of_a_cluster(
    cluster_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online.redis, "_OF_A_BUCKET", 100)
    rows = numbered(2500)
    with online.connect(cluster_url, tmp_path) as store, connected(cluster_url) as client:
        client.flushall()
        store.replace("view_v1", [rows], len(rows))
        assert store.get_rows("view_v1", list(rows)) == rows
        nodes = [node.redis_connection for node in client.get_primaries()]
        keys = [node.keys("ml_assets:{view_v1.*") for node in nodes]
        assert sum(map(len, keys)) == 25
        assert all(len(of_node) >= 3 for of_node in keys)
        lengths = [node.hlen(key) for node, own in zip(nodes, keys, strict=True) for key in own]
        assert sum(lengths) == 2 * 2500
        assert max(lengths) < 2 * 160, "no bucket is much larger than another"
        assert online.mark(cluster_url) == online.mark(cluster_url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hidden@127.0.0.1:{port}/0",
        "redis://:also@hidden@127.0.0.1:{port}",
        "redis://127.0.0.1:{port}?password=hidden",
    ],
)
def test_an_unreachable_server_is_named_without_its_password(tmp_path: Path, url: str) -> None:
    port = free_port()
    rows = url.format(port=port)
    with pytest.raises(StoreError, match="REDIS_URL") as raised, online.connect(rows, tmp_path):
        pass
    assert f"127.0.0.1:{port} cannot be used" in str(raised.value)
    assert "hidden" not in str(raised.value)
    assert "also" not in str(raised.value)


def test_a_cluster_that_serves_not_all_slots_is_an_outage_in_a_line(tmp_path: Path) -> None:
    """One whose servers were started, but were given no slots; and one of which a node fell."""
    port, bus = free_port(), free_port()
    command = [program("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    command += ["--cluster-enabled", "yes", "--cluster-port", str(bus)]
    url = f"redis://127.0.0.1:{port}"
    with (
        serving(command, tmp_path, port),
        pytest.raises(OutageError, match=r"127.0.0.1:\d+ cannot be used \(All slots are not"),
        online.connect(url, tmp_path),
    ):
        pass
    assert isinstance(
        refusal(ClusterDownError("CLUSTERDOWN The cluster is down"), url), OutageError
    )
    assert not isinstance(refusal(ResponseError("WRONGTYPE"), url), OutageError)


def test_a_wrong_password_is_a_clear_line(redis_url: str, tmp_path: Path) -> None:
    wrong = redis_url.replace(PASSWORD, "wrong")
    with pytest.raises(StoreError, match="REDIS_URL") as raised, online.connect(wrong, tmp_path):
        pass
    assert "wrong@" not in str(raised.value)
    assert "Check user and password in it" in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://user:hidden@localhost", "redis://localhost:port/0", "redis://:hidden/x@h"]
)
def test_a_url_of_something_else_is_a_clear_line(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError, match="REDIS_URL") as raised, online.connect(url, tmp_path):
        pass
    assert "hidden" not in str(raised.value)


def test_a_mark_of_redis_tells_what_was_written(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also another value under the same revision; of many entities their number alone.

    Caches in the same Redis say nothing of it.
    """
    with Redis.from_url(redis_url) as client:
        client.flushdb()
    with (
        online.connect(redis_url, tmp_path) as store,
        cache.connect(redis_url, tmp_path) as beside,
    ):
        marks = [online.mark(redis_url)]
        for rows in ({"a": A, "b": A}, {"a": replace(A, values={"n": 2})}):
            store.put_many("marked", rows)
            marks.append(online.mark(redis_url))
        store.get_many("marked", ["a"])
        beside.put_many({"key": b"value"}, 60)
        assert online.mark(redis_url) == marks[-1]
        monkeypatch.setattr(online.redis, "_HASHED", 1)
        marks.append(online.mark(redis_url))
        store.put_many("marked", {"a": replace(A, values={"n": 3})})
        assert online.mark(redis_url) == marks[-1]
        store.delete_many("marked", ["a"])
        assert len({*marks, online.mark(redis_url)}) == len(marks) + 1
    with pytest.raises(StoreError):
        online.mark(redis_url.replace(PASSWORD, "wrong"))
