"""Sessions of the page, by one contract: SQLite of the home, and Redis."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.service.page.sessions import SECONDS, Sessions, name_of, new_id, open_sessions
from ml_assets_tests.servers import redis_over_tcp


@pytest.fixture(params=["sqlite", "redis"])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sessions]:
    if request.param == "sqlite":
        with open_sessions(None, tmp_path) as opened:
            yield opened
        return
    with redis_over_tcp(tmp_path) as url, open_sessions(url, tmp_path) as opened:
        yield opened


def test_a_session_is_found_until_it_is_ended(sessions: Sessions) -> None:
    one, other = name_of(new_id()), name_of(new_id())
    sessions.keep(one, "key-1")
    sessions.keep(other, "key-2")
    assert (sessions.find(one), sessions.find(other)) == ("key-1", "key-2")
    sessions.forget(one)
    sessions.forget(one)
    assert (sessions.find(one), sessions.find(other)) == (None, "key-2")
    assert sessions.find("") is None


def test_a_session_ends_by_itself(tmp_path: Path) -> None:
    now = 1_000.0
    with open_sessions(None, tmp_path, lambda: now) as opened:
        opened.keep("first", "key")
        now += SECONDS - 1
        assert opened.find("first") == "key"
        now += 1
        assert opened.find("first") is None
        opened.keep("second", "key")
    with sqlite3.connect(tmp_path / "visits.sqlite") as connection:
        assert connection.execute("select name from sessions").fetchall() == [("second",)]
    connection.close()


def test_redis_forgets_a_session_by_itself(tmp_path: Path) -> None:
    from redis import Redis

    with redis_over_tcp(tmp_path) as url, open_sessions(url, tmp_path) as opened:
        opened.keep("name", "key")
        with Redis.from_url(url) as client:
            (key,) = client.keys("*")
            assert SECONDS - 60 < client.ttl(key) <= SECONDS


def test_the_store_cannot_tell_an_id() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert min(map(len, ids)) >= 43
    assert all(each not in name_of(each) and len(name_of(each)) == 64 for each in ids)
