"""Counters, by one contract: SQLite of the home, and Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from limits import RateLimitItemPerHour, RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from ml_assets.service.admission.counters import obstacle, open_counters
from ml_assets_tests.servers import redis_over_tcp


@pytest.fixture(params=["sqlite", "redis"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "sqlite":
        with open_counters(None, tmp_path) as opened:
            yield opened
        return
    with redis_over_tcp(tmp_path) as url, open_counters(url, tmp_path) as opened:
        yield opened


def test_a_window_ends_and_begins_anew(storage: Storage) -> None:
    assert storage.check()
    limiter, two = FixedWindowRateLimiter(storage), RateLimitItemPerHour(2)
    assert [limiter.hit(two, "ann") for _ in range(3)] == [True, True, False]
    assert limiter.hit(two, "bob"), "each counts for itself"
    assert limiter.get_window_stats(two, "ann").remaining == 0
    storage.clear(two.key_for("ann"))
    assert limiter.hit(two, "ann")
    short = RateLimitItemPerSecond(1, 1)
    assert limiter.hit(short, "ann")
    assert not limiter.hit(short, "ann")
    import time

    time.sleep(1.1)
    assert storage.get(short.key_for("ann")) == 0
    assert limiter.hit(short, "ann")
    storage.reset()
    assert storage.get(two.key_for("bob")) == 0


def test_expired_rows_do_not_stay(tmp_path: Path) -> None:
    with open_counters(None, tmp_path) as storage:
        storage.incr("gone", 0)
        for number in range(120):
            storage.incr(f"key-{number}", 100)
        rows = storage._connection.execute("select name from counters where name = 'gone'")  # type: ignore[attr-defined]
        assert rows.fetchall() == []


def test_a_store_that_goes_away_is_an_error_of_the_library(tmp_path: Path) -> None:
    with redis_over_tcp(tmp_path) as url:
        opened = open_counters(url, tmp_path)
        storage = opened.__enter__()
        storage.incr("a", 10)
    with pytest.raises(StorageError):
        storage.incr("a", 10)
    opened.__exit__(None, None, None)


def test_a_store_that_takes_no_counts_is_told(tmp_path: Path) -> None:
    from redis import Redis

    assert obstacle(None, tmp_path) == ""
    (tmp_path / "none" / "visits.sqlite").mkdir(parents=True)
    assert "unable to open" in obstacle(None, tmp_path / "none")
    with redis_over_tcp(tmp_path) as url, Redis.from_url(url) as client:
        assert obstacle(url, tmp_path) == ""
        client.config_set("min-replicas-to-write", 1)
        assert "NOREPLICAS" in obstacle(url, tmp_path)
    assert obstacle(url, tmp_path), "it is away"
