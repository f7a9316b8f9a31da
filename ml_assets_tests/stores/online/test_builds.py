"""One build of a view is read, whoever writes another, and whoever is killed."""

import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from ml_assets.errors import StoreError
from ml_assets.stores.online import Row
from ml_assets_tests.integration.forking import fork
from ml_assets_tests.servers.keyed import AWS
from ml_assets_tests.stores.online.opening import NOW, ROWS, A, B, Open, leftovers, numbered


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
