"""What every online store does with rows, on every store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.errors import StoreError
from ml_assets.stores import online
from ml_assets.stores.online import Reading, Row
from ml_assets_tests.stores.online.opening import NOW, ROWS, STORES, A, B, Open, numbered, opener


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


def test_an_id_of_any_length_is_an_id(open_store: Open) -> None:
    """A key of DynamoDB has 1,024 bytes, a value of metadata, or of a table, may have more."""
    long = ["ä" * 500, "ä" * 520, "x" * 3_000]
    with open_store() as store:
        assert store.get_many("view_v1", long).missing == long
        store.put_many("view_v1", dict.fromkeys([*long, "a"], A))
        assert list(store.get_many("view_v1", [*long, "a", "y" * 3_000]).values) == [*long, "a"]
        assert set(store.revisions("view_v1")) == {*long, "a"}
        store.delete_many("view_v1", long)
        assert set(store.get_rows("view_v1", [*long, "a"])) == {"a"}


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
        beyond = [msgpack.packb(["1", ends, {}]) for ends in (2**62, -(2**62), "x")]
        for damage in (b"", b"\xc1", b"\x93\xa1x\xc0\x01", b"\x01", *beyond):
            in_file._connection.execute(  # type: ignore[attr-defined]
                "update online_features set features = ? where entity_id = 'a'", [damage]
            )
            client = on_redis._client  # type: ignore[attr-defined]
            (key,) = [k for k in client.scan_iter("ml_assets:{view_v1.*") if client.ttl(k) == -1]
            client.hset(key, "va", damage)
            for store in (on_redis, in_file):
                assert store.get_many("view_v1", ["a", "b b"], NOW).missing == ["a"]
                assert set(store.get_rows("view_v1", ["a", "b b"])) == {"b b"}


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
