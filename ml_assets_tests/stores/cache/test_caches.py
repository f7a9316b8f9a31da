"""What every cache does, on every store that one is kept in."""

import multiprocessing
import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from ml_assets.errors import OutageError, SettingError, StoreError
from ml_assets.stores import cache
from ml_assets.stores.cache import Cache, key_of
from ml_assets_tests.servers import free_port


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = float(round(time.time()))

    def __call__(self) -> float:
        return self.now


Open = Callable[[], AbstractContextManager[Cache]]
STORES = ["sqlite", "redis", "cluster", "memcached"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=STORES)
def open_cache(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Open:
    """Opens the same cache every time it is called."""
    url = None
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_url")
    return lambda: cache.connect(url, tmp_path, clock)


def key(name: str) -> str:
    return key_of("test", name, uuid4().hex)


def test_values_come_back_as_they_were(open_cache: Open) -> None:
    a, b, absent = key("a"), key("b"), key("absent")
    with open_cache() as opened:
        opened.put_many({a: b"\0\r\n\xff", b: b""}, 60)
    with open_cache() as opened:
        assert opened.get_many([b, absent, a]) == {a: b"\0\r\n\xff", b: b""}
        assert opened.get_many([]) == {}


def test_a_value_is_replaced_with_its_end(open_cache: Open, clock: Clock) -> None:
    a = key("a")
    with open_cache() as opened:
        opened.put_many({a: b"1"}, 60)
        opened.put_many({a: b"2"}, 600)
        clock.now += 599
        assert opened.get_many([a]) == {a: b"2"}
        opened.put_many({a: b"3"}, 1)
        clock.now += 1
        assert opened.get_many([a]) == {}, "its end has come, to the second"


def test_what_is_deleted_is_gone(open_cache: Open) -> None:
    a, b, absent = key("a"), key("b"), key("absent")
    with open_cache() as opened:
        opened.put_many({a: b"1", b: b"2"}, 60)
        opened.delete_many([a, absent])
        opened.delete_many([])
        assert opened.get_many([a, b]) == {b: b"2"}


def test_a_time_of_more_than_a_month_is_kept(open_cache: Open, clock: Clock) -> None:
    """Memcached takes more than 30 days for a date, which was in 1970."""
    a, month = key("a"), 40 * 24 * 3600
    with open_cache() as opened:
        opened.put_many({a: b"1"}, month)
        assert opened.get_many([a]) == {a: b"1"}
        clock.now += month
        assert opened.get_many([a]) == {}


def test_a_value_that_is_too_large_is_not_kept(open_cache: Open) -> None:
    largest, larger = key("largest"), key("larger")
    values = {largest: b"x" * cache.LARGEST, larger: b"x" * (cache.LARGEST + 1)}
    with open_cache() as opened:
        opened.put_many(values, 60)
        assert opened.get_many([largest, larger]) == {largest: values[largest]}
        opened.put_many({}, 60)


def test_more_values_than_one_statement_takes(open_cache: Open) -> None:
    values = {key(str(number)): str(number).encode() for number in range(1_000)}
    with open_cache() as opened:
        opened.put_many(values, 60)
        assert opened.get_many(list(values)) == values


@pytest.mark.parametrize("wrong", ["", "two words", "line\nbreak", "ä", "x" * 201])
def test_a_key_that_a_store_would_not_take_is_refused_by_all(open_cache: Open, wrong: str) -> None:
    with open_cache() as opened:
        for call in (
            lambda: opened.get_many([wrong]),
            lambda: opened.put_many({wrong: b""}, 60),
            lambda: opened.delete_many([wrong]),
        ):
            with pytest.raises(ValueError, match="no key of a cache"):
                call()


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_that_is_none_is_refused(open_cache: Open, seconds: float) -> None:
    with open_cache() as opened, pytest.raises(ValueError, match="cannot be kept for"):
        opened.put_many({key("a"): b""}, seconds)


def test_keys_tell_parts_apart_and_tell_no_text() -> None:
    keys = {key_of("k", "ab", "c"), key_of("k", "a", "bc"), key_of("k", "abc"), key_of("l", "abc")}
    assert len(keys) == 4
    assert not any("abc" in each for each in keys)
    assert key_of("k", "ä") == key_of("k", "ä")


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=3)),
            st.sampled_from([1, 5, 30.5, 3e6]),
        ),
        st.tuples(st.just("delete"), st.lists(st.sampled_from("abcd"))),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 1, 4, 31, 2.99e6])),
    ),
    max_size=8,
)


@pytest.mark.parametrize("store", STORES)
def test_a_cache_is_a_dictionary_with_a_clock(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, store: str
) -> None:
    url = None if store == "sqlite" else request.getfixturevalue(f"{store}_url")
    with cache.connect(url, tmp_path, clock) as opened:

        @settings(max_examples=15)
        @given(STEPS)
        def follows(steps: list[tuple[str, ...]]) -> None:
            run, oracle = uuid4().hex, dict[str, tuple[bytes, float]]()
            keys = {name: key_of("oracle", run, name) for name in "abcd"}
            for what, *values in steps:
                if what == "pass":
                    clock.now += values[0]
                elif what == "delete":
                    opened.delete_many([keys[name] for name in values[0]])
                    for name in values[0]:
                        oracle.pop(name, None)
                else:
                    given_values, seconds = values
                    opened.put_many({keys[n]: v for n, v in given_values.items()}, seconds)
                    oracle |= {n: (v, clock.now + seconds) for n, v in given_values.items()}
                lasting = {keys[n]: v for n, (v, end) in oracle.items() if end > clock.now}
                assert opened.get_many(list(keys.values())) == lasting

        follows()


def test_damage_is_a_miss(tmp_path: Path, redis_url: str) -> None:
    """A page that was torn, or another hand: no wrong value is handed out."""
    a = key("a")
    with (
        cache.connect(redis_url, tmp_path) as on_redis,
        cache.connect(None, tmp_path) as in_file,
        closing(sqlite3.connect(tmp_path / cache.FILE)) as hand,
        Redis.from_url(redis_url) as other_hand,
    ):
        for opened in (on_redis, in_file):
            opened.put_many({a: b"right"}, 60)
        with hand:
            hand.execute("update cache set value = cast(substr(value, 1, 12) || 'wrong' as blob)")
        (name,) = other_hand.scan_iter(f"*{a}")
        other_hand.set(name, b"short")
        assert on_redis.get_many([a]) == in_file.get_many([a]) == {}


def test_redis_and_memcached_forget_by_themselves(
    tmp_path: Path, redis_url: str, memcached_url: str
) -> None:
    clock, a = Clock(), key("a")
    clock.now -= 3_600  # the value would still be good by this clock
    with cache.connect(redis_url, tmp_path, clock) as opened:
        opened.put_many({a: b"1"}, 0.05)
        time.sleep(0.1)
        assert opened.get_many([a]) == {}
        opened.put_many({a: b"1"}, 50)
    with Redis.from_url(redis_url) as client:
        (name,) = client.scan_iter(f"*{a}")
        assert 40_000 < client.pttl(name) <= 50_000


def test_a_file_keeps_what_was_written_last(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.sqlite, "MOST", 10)
    keys = [key(str(number)) for number in range(15)]
    with cache.connect(None, tmp_path, clock) as opened:
        for each in (*keys, keys[6]):
            opened.put_many({each: b"1"}, 60)
        assert list(opened.get_many(keys)) == sorted(opened.get_many(keys))
        assert set(opened.get_many(keys)) == {keys[6], *keys[7:]} - {keys[5]}
        clock.now += 61
        opened.put_many({keys[0]: b"2"}, 60)
    with closing(sqlite3.connect(tmp_path / cache.FILE)) as connection:
        assert connection.execute("select count(*) from cache").fetchone() == (1,)


def write(home: Path, process: int) -> None:
    with cache.connect(None, home) as opened:
        for number in range(200):
            opened.put_many({f"{process}:{number}": f"{process}:{number}".encode()}, 60)
            opened.put_many({"shared": b"x" * (process + 1)}, 60)


def test_two_processes_write_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine a writer can stand still for longer than an answer waits for it.
    monkeypatch.setattr(cache.sqlite, "_WAIT", 30)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write, args=(tmp_path, number)) for number in range(2)]
    for process in processes:
        process.start()
    with cache.connect(None, tmp_path) as opened:
        while any(process.is_alive() for process in processes):
            assert opened.get_many(["shared"]).get("shared") in {None, b"x", b"xx"}
        assert [process.exitcode for process in processes] == [0, 0]
        keys = [f"{process}:{number}" for process in range(2) for number in range(200)]
        assert opened.get_many(keys) == {each: each.encode() for each in keys}


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / cache.FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"cache\.sqlite"), cache.connect(None, tmp_path):
        pass
    with cache.connect(None, tmp_path) as opened:
        assert opened.get_many(["a"]) == {}


def test_no_home_is_made_for_a_cache(tmp_path: Path) -> None:
    with pytest.raises(StoreError), cache.connect(None, tmp_path / "absent"):
        pass
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("scheme", ["redis", "memcached"])
def test_a_server_that_is_down_is_one_line(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}"
    with pytest.raises(OutageError, match=f"{scheme.upper()}_URL"), cache.connect(url, tmp_path):
        pass


def test_a_memcached_without_a_host_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingError, match="MEMCACHED_URL: it has no host"),
        cache.connect("memcached:///x", tmp_path),
    ):
        pass
