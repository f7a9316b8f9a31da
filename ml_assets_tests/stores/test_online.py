import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import pytest

from ml_assets.errors import StoreError
from ml_assets.stores import online
from ml_assets.stores.online import OnlineStore, redis
from ml_assets.stores.online.sqlite import transaction
from ml_assets_tests.servers import PASSWORD, free_port

Open = Callable[[], AbstractContextManager[OnlineStore]]

ROWS: dict[str, online.Values] = {
    "a": {"count": 3, "share": 0.1 + 0.2, "name": "ä'\"", "known": True, "unknown": None},
    "b b": {"count": 2**53, "share": -1e-300},
}


@pytest.fixture(params=["sqlite", "redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same store every time it is called."""
    if request.param == "sqlite":
        return lambda: online.connect(None, tmp_path)
    from redis import Redis

    url: str = request.getfixturevalue("redis_url")
    client = Redis.from_url(url)
    client.flushdb()
    client.close()
    return lambda: online.connect(url, tmp_path)


def test_values_come_back_as_they_were(open_store: Open) -> None:
    with open_store() as store:
        store.put_many("view_v1", ROWS, {"a": "1", "b b": "2"})
    with open_store() as store:
        rows = store.get_many("view_v1", ["b b", "a", "absent"])
        assert rows == ROWS
        assert type(rows["a"]["count"]) is int
        assert store.revisions("view_v1") == {"a": "1", "b b": "2"}


def test_a_row_is_replaced_whole(open_store: Open) -> None:
    with open_store() as store:
        store.put_many("view_v1", ROWS, {"a": "1", "b b": "2"})
        store.put_many("view_v1", {"a": {"count": 4}}, {"a": "3"})
        assert store.get_many("view_v1", ["a"]) == {"a": {"count": 4}}
        assert store.revisions("view_v1") == {"a": "3", "b b": "2"}


def test_versions_are_apart(open_store: Open) -> None:
    with open_store() as store:
        store.put_many("view_v1", {"a": {"count": 1}}, {"a": "1"})
        store.put_many("view_v2", {"a": {"count": 2}}, {"a": "2"})
        store.delete_many("view_v1", ["a"])
        assert store.revisions("view_v1") == {}
        assert store.get_many("view_v2", ["a"]) == {"a": {"count": 2}}


def test_deleting_what_is_not_there_is_no_mistake(open_store: Open) -> None:
    with open_store() as store:
        store.put_many("view_v1", ROWS, {"a": "1", "b b": "2"})
        store.delete_many("view_v1", ["a", "absent"])
        store.delete_many("view_v1", [])
        assert store.revisions("view_v1") == {"b b": "2"}
        assert store.get_many("view_v1", []) == {}


def test_more_rows_than_one_batch(open_store: Open) -> None:
    rows: dict[str, online.Values] = {f"e{n}": {"n": n} for n in range(2500)}
    with open_store() as store:
        store.put_many("view_v1", rows, dict.fromkeys(rows, "1"))
        assert store.get_many("view_v1", list(rows)) == rows
        store.delete_many("view_v1", list(rows)[1:])
        assert store.revisions("view_v1") == {"e0": "1"}


def test_a_value_that_is_no_number_is_not_stored(open_store: Open) -> None:
    with open_store() as store:
        store.put_many("view_v1", {"a": {"x": 1.0}}, {"a": "1"})
        with pytest.raises(ValueError, match="not JSON compliant"):
            store.put_many("view_v1", {"a": {"x": float("nan")}}, {"a": "2"})
        assert store.get_many("view_v1", ["a"]) == {"a": {"x": 1.0}}


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


def test_a_file_that_is_no_database_is_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "online.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"online\.sqlite"), online.connect(None, tmp_path):
        pass


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    with (
        online.connect(None, tmp_path) as writer,
        online.connect(None, tmp_path) as reader,
        closing(sqlite3.connect(tmp_path / "online.sqlite", isolation_level=None)) as connection,
    ):
        writer.put_many("view_v1", {"a": {"x": 1}}, {"a": "1"})
        with transaction(connection):
            assert reader.get_many("view_v1", ["a"]) == {"a": {"x": 1}}


def test_a_store_is_copied_into_an_empty_one(open_store: Open, tmp_path: Path) -> None:
    with online.connect(None, tmp_path / "other") as other, open_store() as store:
        assert store.views() == []
        other.put_many("view_v1", ROWS, {"a": "1", "b b": "2"})
        store.put_many("view_v1", {"a": ROWS["a"]}, {"a": "1"})  # a copy that was cut short
        online.copy_values(other, store, "the store")
        assert store.get_many("view_v1", ["a", "b b"]) == ROWS
        assert store.revisions("view_v1") == {"a": "1", "b b": "2"}
        assert store.views() == other.views() == ["view_v1"]
        store.put_many("view_v2", {"a": {}}, {"a": "1"})
        with pytest.raises(StoreError, match=r"^the store: it is not empty: it has .* view_v2"):
            online.copy_values(other, store, "the store")


def test_a_key_that_redis_tells_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """SCAN may give a key again while the table of keys grows."""

    class Client:
        def __init__(self, *keys: str) -> None:
            self.keys = keys

        def scan_iter(self, pattern: str, count: int) -> Iterator[str]:
            yield from self.keys

        def hlen(self, key: str) -> int:
            return len(key)

        def eval(self, script: str, count: int, key: str) -> str:
            return key

    def mark(*keys: str) -> str:
        monkeypatch.setattr(redis, "connected", lambda url: nullcontext(Client(*keys)))
        return online.mark("redis://x")

    assert mark("b", "a", "b") == mark("a", "b") != mark("a")


def test_a_mark_of_redis_tells_what_was_written(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also another value under the same revision; of many entities their number alone."""
    with online.connect(redis_url, tmp_path) as store:
        store.delete_many("marked", store.revisions("marked"))
        marks = [online.mark(redis_url)]
        for rows in ({"a": {"n": 1}, "b": {"n": 1}}, {"a": {"n": 2}}):
            store.put_many("marked", rows, dict.fromkeys(rows, "1"))
            marks.append(online.mark(redis_url))
        store.get_many("marked", ["a"])
        assert online.mark(redis_url) == marks[-1]
        monkeypatch.setattr(online.redis, "_HASHED", 1)
        marks.append(online.mark(redis_url))
        store.put_many("marked", {"a": {"n": 3}}, {"a": "2"})
        assert online.mark(redis_url) == marks[-1]
        store.delete_many("marked", ["a"])
        assert len({*marks, online.mark(redis_url)}) == len(marks) + 1
    with pytest.raises(StoreError):
        online.mark(redis_url.replace(PASSWORD, "wrong"))
