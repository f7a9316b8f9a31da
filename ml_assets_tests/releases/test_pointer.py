"""The pointer: one release is open, rows are appended, and going back withdraws what is left."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Thread

import psycopg
import pytest

from ml_assets.errors import NothingToDoError
from ml_assets.releases import audit
from ml_assets.releases.audit import Entry
from ml_assets.releases.pointer import (
    Parts,
    deciding_alone,
    list_releases,
    present_parts,
    present_release,
    publish,
    roll_back,
    rollback_target,
    services,
    withdrawals,
)
from ml_assets.stores import postgres
from ml_assets_tests.search.measurements import withdraw


def serve(connection: postgres.Connection, actor: str = "ann", **changed: object) -> None:
    entry = Entry(actor, "publish", "a part", f"{changed}")
    publish(connection, lambda parts: replace(parts, **changed), entry)


def back(connection: postgres.Connection, to: int | None = None) -> Parts:
    target = rollback_target(connection, to)
    roll_back(connection, target, Entry("bob", "rollback", "release", "worse"))
    return present_parts(connection)


def ids(connection: postgres.Connection) -> list[int]:
    return [release.release_id for release in list_releases(connection)]


def test_parts_are_released_together_one_after_the_other(connection: postgres.Connection) -> None:
    assert present_release(connection) is None
    assert present_parts(connection) == Parts()
    serve(connection, generation_id="a", space_id="s")
    serve(connection, model_version=1, model_name="m", feature_views={"text_v1": "f"})
    serve(connection, generation_id="b")
    newest, middle, oldest = list_releases(connection)
    assert newest.parts == Parts("s", "b", {"text_v1": "f"}, "m", 1)
    assert middle.parts == Parts("s", "a", {"text_v1": "f"}, "m", 1)
    assert oldest.parts == Parts("s", "a")
    assert newest == present_release(connection)
    assert newest.served_until is None
    for after, before in pairwise([newest, middle, oldest]):
        assert before.served_until == after.served_from
    assert (newest.actor, newest.action, newest.reason) == (
        *("ann", "publish"),
        "{'generation_id': 'b'}",
    )


def test_what_was_served_when_is_answered_to_the_moment(connection: postgres.Connection) -> None:
    for generation in "ab":
        serve(connection, generation_id=generation)
    second, first = list_releases(connection)
    instant = timedelta(microseconds=1)
    assert list_releases(connection, first.served_from) == [first]
    assert list_releases(connection, second.served_from - instant) == [first]
    assert list_releases(connection, second.served_from) == [second]
    assert list_releases(connection, first.served_from - instant) == []


def test_the_audit_entry_names_what_was_served_and_what_is(
    connection: postgres.Connection,
) -> None:
    serve(connection, generation_id="a")
    serve(connection, generation_id="b")
    last = audit.last_entry(connection, "publish")
    assert last is not None
    assert last[1]["previous"]["generation_id"] == "a"
    assert last[1]["served"]["generation_id"] == "b"
    assert audit.verify(connection) is None


@pytest.mark.parametrize(
    "served",
    [
        "tstzrange(now() - interval '1 hour', null)",
        "tstzrange(now() - interval '1 hour', now() + interval '1 hour')",
        "tstzrange(now() + interval '1 year', null)",
    ],
)
def test_the_database_admits_no_two_releases_at_once(
    connection: postgres.Connection, served: str
) -> None:
    serve(connection, generation_id="a")
    with pytest.raises(psycopg.errors.ExclusionViolation):
        connection.execute(
            "insert into releases (served, actor, action, reason)"
            f" values ({served}, 'a', 'publish', 'r')"
        )
    assert len(ids(connection)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "delete from releases",
        "truncate releases",
        "update releases set reason = 'other'",
        "update releases set generation_id = 'b' where upper_inf(served)",
        "update releases set served = tstzrange(lower(served) - interval '1 day', now())",
        "update releases set served = tstzrange(lower(served), now()), model_version = 7",
        "update releases set served = tstzrange(lower(served), now() + interval '1 day')",
    ],
)
def test_a_row_is_never_rewritten(connection: postgres.Connection, statement: str) -> None:
    for generation in "ab":
        serve(connection, generation_id=generation)
    before = list_releases(connection)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        connection.execute(statement)
    assert list_releases(connection) == before


def test_going_back_is_to_the_last_that_differs_and_withdraws_all_that_is_left(
    connection: postgres.Connection,
) -> None:
    serve(connection, generation_id="a", model_version=1)
    serve(connection, generation_id="b", model_version=2)
    serve(connection, feature_views={"text_v2": "f"})
    assert back(connection) == Parts(generation_id="a", model_version=1)
    assert withdrawals(connection, "generation_id").keys() == {"b"}
    assert withdrawals(connection, "model_version").keys() == {"2"}
    left = withdrawals(connection, "generation_id")["b"]
    assert str(left) == "b was withdrawn by bob: worse"
    with pytest.raises(NothingToDoError, match="was withdrawn"):
        back(connection)
    # Published again, it is withdrawn no more; the other part still is.
    serve(connection, generation_id="b")
    assert withdrawals(connection, "generation_id") == {}
    assert withdrawals(connection, "model_version").keys() == {"2"}


def test_only_the_part_that_changes_is_withdrawn(connection: postgres.Connection) -> None:
    serve(connection, generation_id="a")
    serve(connection, model_version=1)
    assert back(connection) == Parts(generation_id="a")
    assert withdrawals(connection, "generation_id") == {}
    assert withdrawals(connection, "model_version").keys() == {"1"}


def test_going_back_again_goes_further(connection: postgres.Connection) -> None:
    for generation in "abc":
        serve(connection, generation_id=generation)
    assert back(connection).generation_id == "b"
    assert back(connection).generation_id == "a"
    assert withdrawals(connection, "generation_id").keys() == {"b", "c"}


def test_a_release_that_is_named_is_gone_back_to(connection: postgres.Connection) -> None:
    with pytest.raises(NothingToDoError, match="nothing is served yet"):
        rollback_target(connection)
    for generation in "abc":
        serve(connection, generation_id=generation)
    third, _, first = ids(connection)
    with pytest.raises(NothingToDoError, match="--to: there is no release 77"):
        rollback_target(connection, 77)
    with pytest.raises(NothingToDoError, match="names what is served already"):
        rollback_target(connection, third)
    assert back(connection, first).generation_id == "a"
    # Also one that was withdrawn: a person asks.
    assert back(connection, third).generation_id == "c"
    assert withdrawals(connection, "generation_id").keys() == {"a"}


def test_the_last_reason_of_a_withdrawal_is_kept(connection: postgres.Connection) -> None:
    for generation in "ab":
        serve(connection, generation_id=generation)
    withdraw(connection, "b", "slow")
    back(connection)
    assert withdrawals(connection, "generation_id")["b"].reason == "worse"


def test_a_part_is_served_as_long_as_releases_name_it(connection: postgres.Connection) -> None:
    """A release of another part is no break in its service."""
    serve(connection, "ann", generation_id="a")
    serve(connection, "bob", model_version=1)
    serve(connection, "cy", generation_id="b")
    third, _, first = list_releases(connection)
    served = services(connection, "generation_id")
    assert served.keys() == {"a", "b"}
    assert (served["a"].actor, served["a"].served_from) == ("ann", first.served_from)
    assert (served["a"].served_until, served["b"].served_until) == (third.served_from, None)
    assert services(connection, "model_version")["1"].actor == "bob"


def test_who_decides_alone_is_waited_for(
    connection: postgres.Connection, postgres_url: str
) -> None:
    """A rollback at work holds: nothing is served between its look and its move."""
    for generation in "ab":
        serve(connection, generation_id=generation)
    ready = Barrier(2)

    def run() -> None:
        with postgres.connect(postgres_url, Path()) as own:
            ready.wait()
            serve(own, model_version=1)

    other = Thread(target=run)
    other.start()
    with deciding_alone(connection):
        ready.wait()
        other.join(0.5)
        assert other.is_alive()
        assert back(connection).generation_id == "a"
    other.join(10)
    assert present_parts(connection) == Parts(generation_id="a", model_version=1)
