"""What every online store does, on every store."""

import hashlib
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from ml_assets.errors import OutageError, SettingError, StoreError
from ml_assets.stores import cache, online
from ml_assets.stores.online import OnlineStore, Reading, Row
from ml_assets.stores.online.sqlite import transaction
from ml_assets.stores.redis import connected
from ml_assets_tests.integration.forking import fork
from ml_assets_tests.servers import PASSWORD, free_port
from ml_assets_tests.servers.keyed import AWS

Open = Callable[[], AbstractContextManager[OnlineStore]]

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
A = Row({"count": 3, "share": 0.1 + 0.2, "name": "ä'\"", "known": True, "unknown": None}, "1")
B = Row({"count": 2**53, "share": -1e-300, "zero": -0.0}, "2", NOW)
ROWS = {"a": A, "b b": B}
STORES = ["sqlite", "redis", "cluster", "dynamodb"]


def opener(store: str, request: pytest.FixtureRequest, folder: Path) -> Open:
    if store == "sqlite":
        return partial(online.connect, None, folder)
    url: str = request.getfixturevalue(f"{store}_url")
    if store != "dynamodb":
        with connected(url) as client:
            client.flushall()
    return partial(online.connect, url, folder)


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same store every time it is called."""
    return opener(request.param, request, tmp_path)


def numbered(entities: int, number: int = 0) -> dict[str, Row]:
    return {f"e{n}": Row({"n": n, "number": number}, f"{number}") for n in range(entities)}


def test_values_come_back_as_they_were(open_store: Open) -> None:
    with open_store() as store:
        store.put_many("view_v1", ROWS)
    with open_store() as store:
        reading = store.get_many("view_v1", ["b b", "a", "absent"], NOW)
        assert reading.values == {"a": A.values, "b b": B.values}
        assert reading.missing == ["absent"]
        assert reading.expired == {}
        assert type(reading.values["a"]["count"]) is int
        assert str(reading.values["b b"]["zero"]) == "-0.0"
        assert store.get_rows("view_v1", ["b b", "a", "absent"]) == ROWS
        assert store.revisions("view_v1") == {"a": "1", "b b": "2"}
        assert store.views() == ["view_v1"]


def test_a_value_that_does_not_hold_any_more_is_told_and_not_given(open_store: Open) -> None:
    """It holds to the last instant, whatever zone the clock shows."""
    with open_store() as store:
        store.put_many("view_v1", ROWS)
        later = NOW.astimezone(None) + timedelta(microseconds=1)
        reading = store.get_many("view_v1", ["a", "b b", "absent"], later)
        assert reading.values == {"a": A.values}
        assert reading.expired == {"b b": NOW}
        assert reading.missing == ["absent"]
        year = timedelta(days=365)
        store.put_many("view_v1", {"b b": replace(B, expires_at=datetime.now(UTC) + year)})
        store.put_many("view_v1", {"a": replace(A, expires_at=datetime.now(UTC) - year)})
        reading = store.get_many("view_v1", ["a", "b b"])
        assert (set(reading.values), set(reading.expired)) == ({"b b"}, {"a"})


def test_of_a_view_that_was_never_written_all_is_missing(open_store: Open) -> None:
    with open_store() as store:
        assert store.get_many("view_v1", ["a"]) == Reading(None, missing=["a"])
        assert store.get_rows("view_v1", ["a"]) == {}
        assert store.revisions("view_v1") == {}
        store.delete_many("view_v1", ["a"])
        assert store.views() == []
        store.put_many("view_v1", {})
        assert store.views() == []


def test_what_is_asked_for_twice_is_one_answer(open_store: Open) -> None:
    """DynamoDB refuses a request with one key twice. An empty id is an id."""
    with open_store() as store:
        store.put_many("view_v1", {"": A, "a": A})
        reading = store.get_many("view_v1", ["a", "absent", "", "a", "absent"])
        assert list(reading.values) == ["a", ""]
        assert reading.missing == ["absent"]
        store.delete_many("view_v1", ["a", "a", ""])
        assert store.revisions("view_v1") == {}


def test_a_row_is_replaced_whole(open_store: Open) -> None:
    with open_store() as store:
        store.put_many("view_v1", ROWS)
        store.put_many("view_v1", {"a": Row({"count": 4}, "3")})
        assert store.get_rows("view_v1", ["a"]) == {"a": Row({"count": 4}, "3")}
        assert store.revisions("view_v1") == {"a": "3", "b b": "2"}


def test_versions_are_apart(open_store: Open) -> None:
    with open_store() as store:
        store.put_many("view_v1", {"a": Row({"count": 1}, "1")})
        store.put_many("view_v2", {"a": Row({"count": 2}, "2")})
        store.delete_many("view_v1", ["a"])
        assert store.revisions("view_v1") == {}
        assert store.get_many("view_v2", ["a"]).values == {"a": {"count": 2}}
        assert store.views() == ["view_v2"]


def test_deleting_what_is_not_there_is_no_mistake(open_store: Open) -> None:
    with open_store() as store:
        store.put_many("view_v1", ROWS)
        store.delete_many("view_v1", ["a", "absent"])
        store.delete_many("view_v1", [])
        assert store.revisions("view_v1") == {"b b": "2"}
        assert store.get_many("view_v1", []).values == {}


def test_more_rows_than_one_batch(open_store: Open) -> None:
    rows = numbered(2500)
    with open_store() as store:
        store.put_many("view_v1", rows)
        assert store.get_rows("view_v1", list(rows)) == rows
        store.delete_many("view_v1", list(rows)[1:])
        assert store.revisions("view_v1") == {"e0": "0"}


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_value_that_is_no_number_is_not_stored(open_store: Open, value: float) -> None:
    with open_store() as store:
        store.put_many("view_v1", {"a": Row({"x": 1.0}, "1")})
        with pytest.raises(ValueError, match="is no number"):
            store.put_many("view_v1", {"b": Row({}, "2"), "a": Row({"x": value}, "2")})
        assert store.get_rows("view_v1", ["a", "b"]) == {"a": Row({"x": 1.0}, "1")}


def test_another_build_takes_the_place_of_the_one_before_at_once(open_store: Open) -> None:
    with open_store() as store, open_store() as reader:
        store.put_many("view_v1", ROWS)
        before = reader.get_many("view_v1", ["a", "e1"], NOW)
        seen = []

        def batches() -> Iterator[Mapping[str, Row]]:
            yield numbered(2)
            seen.append(reader.get_many("view_v1", ["a", "e1"], NOW))
            assert store.revisions("view_v1") == {"a": "1", "b b": "2"}
            yield {}
            yield {"e2": A}

        store.replace("view_v1", batches(), 3)
        assert seen == [before]
        after = reader.get_many("view_v1", ["a", "e1", "e2"])
        assert after.values == {"e1": {"n": 1, "number": 0}, "e2": A.values}
        assert after.missing == ["a"]
        assert after.tag not in {before.tag, None}
        store.put_many("view_v1", {"a": A})
        assert reader.get_many("view_v1", ["a"]).tag == after.tag
        store.replace("view_v1", iter(()), 0)
        assert store.revisions("view_v1") == {}


def test_a_build_that_was_given_up_is_never_read(open_store: Open) -> None:
    def broken() -> Iterator[Mapping[str, Row]]:
        yield {"a": Row({"half": True}, "x"), "c": A}
        raise InterruptedError

    with open_store() as store:
        for rows in ({}, ROWS):
            store.put_many("view_v1", rows)
            with pytest.raises(InterruptedError):
                store.replace("view_v1", broken(), 3)
            assert store.get_rows("view_v1", ["a", "b b", "c"]) == rows
        store.replace("view_v1", [{"c": A}], 1)
        assert store.revisions("view_v1") == {"c": "1"}


def test_of_two_builds_at_once_the_one_begun_last_is_read(open_store: Open) -> None:
    with open_store() as first, open_store() as second:

        def batches() -> Iterator[Mapping[str, Row]]:
            yield {"a": A}
            second.replace("view_v1", [{"b": B}], 1)
            yield {"c": A}

        with pytest.raises(StoreError, match="online values of view_v1: another process writes"):
            first.replace("view_v1", batches(), 2)
        assert first.revisions("view_v1") == {"b": "2"}
        first.replace("view_v1", [{"d": A}], 1)
        assert second.revisions("view_v1") == {"d": "1"}
        assert leftovers(first) == 1


def test_what_is_written_while_builds_change_places_is_not_lost(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of Redis: the writer learns that its build is not read any more, and writes into the next."""
    with open_store() as writer, open_store() as other:
        writer.put_many("view_v1", ROWS)
        write, times = type(writer)._write, []  # type: ignore[attr-defined]

        def slowly(self: object, *values: object) -> object:
            if self is writer and not times:
                times.append(1)
                if "Sqlite" not in type(writer).__name__:  # that one locks the others out
                    other.replace("view_v1", [{"b": B}], 1)
            return write(self, *values)

        monkeypatch.setattr(type(writer), "_write", slowly)
        writer.put_many("view_v1", {"c": A})
        assert times
        assert writer.get_rows("view_v1", ["c"]) == {"c": A}


def replace_and_die(open_store: Open, after: int) -> None:
    """Killed after so many batches; after 4, all is written and not yet read."""

    def batches() -> Iterator[Mapping[str, Row]]:
        for number in range(4):
            if number == after:
                signal.raise_signal(signal.SIGKILL)
            yield {f"x{number}": Row({"new": True}, "new")}

    def die(*_: object) -> None:
        signal.raise_signal(signal.SIGKILL)

    os.environ.update(AWS)
    with open_store() as store:
        vars(type(store))["_publish"]  # it is there
        type(store)._publish = die  # type: ignore[attr-defined]
        store.replace("view_v1", batches(), 4)


@pytest.mark.parametrize("after", [0, 2, 4])
def test_killed_in_a_swap_readers_keep_what_they_had(open_store: Open, after: int) -> None:
    with open_store() as store:
        store.put_many("view_v1", ROWS)
    assert fork(60, replace_and_die, open_store, after) == -signal.SIGKILL
    with open_store() as store:
        assert store.get_rows("view_v1", ["a", "b b", "x0"]) == ROWS
        store.put_many("view_v1", {"c": A})
        store.replace("view_v1", [{"d": A}], 1)
        assert store.revisions("view_v1") == {"d": "1"}
        assert leftovers(store) == 1


def leftovers(store: OnlineStore) -> int:
    """Rows that are stored, of any build; those that Redis forgets in a minute not counted."""
    if "Sqlite" in type(store).__name__:
        query = "select count(*) from online_features"
        return int(store._connection.execute(query).fetchone()[0])  # type: ignore[attr-defined]
    if "DynamoDb" in type(store).__name__:
        items = store._client.scan(TableName=store._table)["Items"]  # type: ignore[attr-defined]
        return sum(item["bucket_id"]["S"] != "views" for item in items)
    client = store._client  # type: ignore[attr-defined]
    keys = [key for key in client.scan_iter("ml_assets:*") if not key.endswith(b":builds")]
    return sum(client.hlen(key) for key in keys if client.ttl(key) == -1) // 2


def swap_often(open_store: Open) -> None:
    os.environ.update(AWS)
    with open_store() as store:
        for number in range(1, 10):
            rows = numbered(40, number)
            batches = [dict(list(rows.items())[n : n + 10]) for n in range(0, 40, 10)]
            store.replace("view_v1", batches, 40)


def test_a_reader_never_mixes_builds(open_store: Open) -> None:
    """Two processes at once."""
    ids = list(numbered(40))
    with open_store() as store:
        store.put_many("view_v1", numbered(40))
    seen: dict[str | None, int] = {}
    with open_store() as store, ThreadPoolExecutor(1) as beside:
        process = beside.submit(fork, 60, swap_often, open_store)
        while not process.done():
            reading = store.get_many("view_v1", ids)
            (number,) = {values["number"] for values in reading.values.values()}
            assert not reading.missing
            assert seen.setdefault(reading.tag, number) == number  # type: ignore[arg-type]
        assert store.get_many("view_v1", ids).values["e0"]["number"] == 9
    assert process.result() == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "replace", "wait"]),
        st.sampled_from(["u_v1", "u_v2"]),
        st.dictionaries(
            st.sampled_from(["a", "b", "c", "ä {x}"]),
            st.tuples(
                st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9)),
                st.one_of(st.none(), st.integers(-2, 5)),
            ),
        ),
    ),
    max_size=7,
)


@pytest.mark.parametrize("store", STORES)
def test_a_store_is_a_dictionary_with_a_clock(
    request: pytest.FixtureRequest, tmp_path: Path, store: str
) -> None:
    names = ["a", "b", "c", "ä {x}"]
    with opener(store, request, tmp_path)() as opened:

        @settings(max_examples=4 if store == "dynamodb" else 15)
        @given(STEPS)
        def follows(steps: list[tuple[str, str, dict[str, tuple[float, int | None]]]]) -> None:
            oracle: dict[str, dict[str, Row]] = {"u_v1": {}, "u_v2": {}}
            for view in oracle:
                opened.replace(view, [], 0)
            now = NOW
            for what, view, given_rows in steps:
                rows = {
                    id_: Row({"x": x}, repr(x), None if s is None else now + timedelta(seconds=s))
                    for id_, (x, s) in given_rows.items()
                }
                if what == "put":
                    opened.put_many(view, rows)
                    oracle[view] |= rows
                elif what == "delete":
                    opened.delete_many(view, rows)
                    oracle[view] = {i: r for i, r in oracle[view].items() if i not in rows}
                elif what == "replace":
                    opened.replace(view, [{i: r} for i, r in rows.items()], len(rows))
                    oracle[view] = rows
                else:
                    now += timedelta(seconds=len(rows))
                for each, held in oracle.items():
                    reading = opened.get_many(each, names, now)
                    ended = {
                        i: r.expires_at
                        for i, r in held.items()
                        if r.expires_at and r.expires_at < now
                    }
                    assert reading.expired == ended
                    assert reading.missing == [i for i in names if i not in held]
                    lasting = {i: repr(r.values) for i, r in held.items() if i not in ended}
                    assert {i: repr(v) for i, v in reading.values.items()} == lasting
                    assert opened.revisions(each) == {i: r.revision for i, r in held.items()}

        follows()


def test_a_row_that_was_damaged_is_not_there(tmp_path: Path, redis_url: str) -> None:
    with online.connect(redis_url, tmp_path) as on_redis, online.connect(None, tmp_path) as in_file:
        for store in (on_redis, in_file):
            store.replace("view_v1", [ROWS], 2)
        for damage in (b"", b"\xc1", b"\x93\xa1x\xc0\x01", b"\x01"):
            in_file._connection.execute(  # type: ignore[attr-defined]
                "update online_features set features = ? where entity_id = 'a'", [damage]
            )
            client = on_redis._client  # type: ignore[attr-defined]
            (key,) = [k for k in client.scan_iter("ml_assets:{view_v1.*") if client.ttl(k) == -1]
            client.hset(key, "va", damage)
            for store in (on_redis, in_file):
                assert store.get_many("view_v1", ["a", "b b"], NOW).missing == ["a"]
                assert set(store.get_rows("view_v1", ["a", "b b"])) == {"b b"}


def test_a_file_of_the_time_before_builds_is_read(tmp_path: Path) -> None:
    script = Path(online.__file__).parents[3] / "sql/sqlite/migrations/001_online.sql"
    checksum = hashlib.sha256(script.read_bytes()).hexdigest()
    with closing(sqlite3.connect(tmp_path / "online.sqlite")) as connection, connection:
        connection.executescript(script.read_text())
        connection.execute(
            "create table migrations (name text primary key, checksum text default '',"
            " applied_at timestamptz default current_timestamp)"
        )
        connection.execute(
            "insert into migrations (name, checksum) values (?, ?)", ["001_online", checksum]
        )
        connection.executemany(
            "insert into online_features values (?, ?, ?, ?)",
            [
                ("view_v1", "a", "1", '{"count": 3, "share": 0.30000000000000004}'),
                ("view_v1", "b", "2", "not JSON"),
                ("view_v2", "a", "1", '{"n": null}'),
            ],
        )
        connection.execute("insert into cache values ('k', 'v', 1)")
    with online.connect(None, tmp_path) as store:
        assert store.views() == ["view_v1", "view_v2"]
        assert store.get_rows("view_v1", ["a", "b"]) == {
            "a": Row({"count": 3, "share": 0.1 + 0.2}, "1")
        }
        assert store.revisions("view_v1") == {"a": "1", "b": "2"}
        store.put_many("view_v2", {"b": B})
        assert store.get_rows("view_v2", ["a", "b"]) == {"a": Row({"n": None}, "1"), "b": B}
        store.replace("view_v1", [{"a": A}], 1)
        assert store.get_rows("view_v1", ["a", "b"]) == {"a": A}


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
        writer.put_many("view_v1", {"a": A})
        with transaction(connection):
            assert reader.get_rows("view_v1", ["a"]) == {"a": A}


def test_a_store_is_copied_into_an_empty_one(open_store: Open, tmp_path: Path) -> None:
    with online.connect(None, tmp_path / "other") as other, open_store() as store:
        assert store.views() == []
        other.put_many("view_v1", ROWS)
        store.put_many("view_v1", {"a": A})  # a copy that was cut short
        online.copy_values(other, store, "the store")
        assert store.get_rows("view_v1", ["a", "b b"]) == ROWS
        assert store.views() == other.views() == ["view_v1"]
        store.put_many("view_v2", {"a": A})
        with pytest.raises(StoreError, match=r"^the store: it is not empty: it has .* view_v2"):
            online.copy_values(other, store, "the store")


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


def test_a_mark_of_dynamodb_tells_that_something_was_written(
    dynamodb_url: str, tmp_path: Path
) -> None:
    with online.connect(dynamodb_url, tmp_path) as store:
        marks = [online.mark(dynamodb_url)]
        store.put_many("marked", {"a": A})
        marks.append(online.mark(dynamodb_url))
        store.get_many("marked", ["a"])
        assert online.mark(dynamodb_url) == marks[-1]
        store.delete_many("marked", ["a"])
        marks.append(online.mark(dynamodb_url))
        store.replace("marked", [{"a": A}], 1)
        assert len({*marks, online.mark(dynamodb_url)}) == 4


def test_what_dynamodb_answers_in_part_is_asked_again(
    dynamodb_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    rows = numbered(8)
    with online.connect(dynamodb_url, tmp_path) as store:
        client, table = store._client, store._table  # type: ignore[attr-defined]
        write, read = client.batch_write_item, client.batch_get_item

        def write_some(RequestItems: dict[str, Any]) -> Any:  # noqa: N803
            some, rest = RequestItems[table][:3], RequestItems[table][3:]
            write(RequestItems={table: some})
            return {"UnprocessedItems": {table: rest} if rest else {}}

        def read_some(RequestItems: dict[str, Any]) -> Any:  # noqa: N803
            some, rest = RequestItems[table]["Keys"][:3], RequestItems[table]["Keys"][3:]
            given = read(RequestItems={table: {"Keys": some}})
            return {**given, "UnprocessedKeys": {table: {"Keys": rest}} if rest else {}}

        def read_nothing(RequestItems: dict[str, Any]) -> Any:  # noqa: N803
            return {"Responses": {}, "UnprocessedKeys": RequestItems}

        monkeypatch.setattr(online.dynamodb.time, "sleep", pauses.append)
        monkeypatch.setattr(client, "batch_write_item", write_some)
        monkeypatch.setattr(client, "batch_get_item", read_some)
        store.put_many("view_v1", rows)
        assert store.get_rows("view_v1", list(rows)) == rows
        assert pauses == [0.05, 0.1] * 2
        monkeypatch.setattr(client, "batch_get_item", read_nothing)
        with pytest.raises(OutageError, match="answers a part of what it is asked"):
            store.get_rows("view_v1", ["e0"])


@pytest.mark.parametrize("url", ["dynamodb://eu-west-1", "dynamodb:///table", "dynamodb://"])
def test_a_table_without_a_place_is_a_clear_line(tmp_path: Path, url: str) -> None:
    with (
        pytest.raises(SettingError, match="DYNAMODB_URL: it has no"),
        online.connect(url, tmp_path),
    ):
        pass


def test_a_dynamodb_that_does_not_answer_or_knows_nobody_is_a_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"dynamodb://eu-west-1/table?endpoint=http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in AWS:
        monkeypatch.setenv(name, "someone")
    with pytest.raises(OutageError, match="DYNAMODB_URL"), online.connect(url, tmp_path):
        pass
    for name in AWS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match="credentials"), online.connect(url, tmp_path):
        pass
