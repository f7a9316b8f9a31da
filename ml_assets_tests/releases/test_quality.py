"""Releases follow from the audit log: what differs from it is named, and written again from it."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from ml_assets.releases.audit import Entry
from ml_assets.releases.pointer import publish, roll_back, rollback_target
from ml_assets.releases.quality import restore_from_log, unlike_the_log
from ml_assets.stores import postgres


@pytest.fixture
def served(connection: postgres.Connection) -> postgres.Connection:
    for number in (1, 2, 3):
        entry = Entry("tester", "promote", f"model/{number}", "because")
        publish(connection, lambda parts, n=number: replace(parts, model_version=n), entry)
    roll_back(connection, rollback_target(connection), Entry("tester", "rollback", "2", "worse"))
    return connection


def rows(connection: postgres.Connection) -> list[Any]:
    return connection.execute("select * from releases order by release_id").fetchall()


def tamper(connection: postgres.Connection, statement: str) -> None:
    """Change the releases as their owner could: with the triggers switched off."""
    with connection.transaction():
        connection.execute("alter table releases disable trigger user")
        assert connection.execute(statement).rowcount > 0
        connection.execute("alter table releases enable trigger user")


def named(connection: postgres.Connection) -> dict[str, list[str]]:
    return {each.problem: list(each.examples) for each in unlike_the_log(connection)}


LATER = (
    "update releases set served = tstzrange(lower(served) + interval '1 us', upper(served))"
    " where release_id = 2"
)
TWIN = (
    "insert into releases (feature_views, model_version, served, actor, action, reason)"
    " select feature_views, model_version, {served}, actor, action, reason from releases"
    " where release_id = 2"
)


@pytest.mark.parametrize(
    ("statement", "problems"),
    [
        ("update releases set actor = 'mallory' where release_id = 1", {"altered_releases": ["1"]}),
        ("update releases set reason = '' where release_id = 2", {"altered_releases": ["2"]}),
        ("update releases set action = 'x' where release_id = 4", {"altered_releases": ["4"]}),
        ("update releases set model_version = 9 where release_id = 4", {"altered_releases": ["4"]}),
        (
            'update releases set feature_views = \'{"a": "b"}\' where release_id = 3',
            {"altered_releases": ["3"]},
        ),
        (
            "update releases set served = tstzrange(lower(served), now()) where upper_inf(served)",
            {"altered_releases": ["4"]},
        ),
        (LATER, {"altered_releases": ["2"]}),
        ("delete from releases where release_id = 2", {"missing_releases": ["2"]}),
        ("delete from releases", {"missing_releases": ["1", "2", "3", "4"]}),
        (
            "update releases set release_id = default where release_id = 3",
            {"missing_releases": ["3"], "unlogged_releases": ["5"]},
        ),
    ],
)
def test_what_differs_from_the_log_is_named_and_written_again(
    served: postgres.Connection, statement: str, problems: dict[str, list[str]]
) -> None:
    assert not unlike_the_log(served)
    sound = rows(served)
    tamper(served, statement)
    assert named(served) == problems
    restore_from_log(served)
    assert rows(served) == sound
    assert not unlike_the_log(served)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        served.execute("delete from releases")


def test_a_doubled_release_is_refused(served: postgres.Connection) -> None:
    """Unless it is said to have served at another time: then it is named."""
    sound = rows(served)
    with pytest.raises(psycopg.errors.ExclusionViolation):
        tamper(served, TWIN.format(served="served"))
    served.execute("alter table releases enable trigger user")
    tamper(served, "delete from releases where release_id = 4")
    tamper(served, TWIN.format(served="tstzrange(now(), null)"))
    assert named(served) == {"missing_releases": ["4"], "unlogged_releases": ["6"]}
    restore_from_log(served)
    assert rows(served) == sound


def test_what_is_older_than_the_log_of_releases_stays(served: postgres.Connection) -> None:
    old = (
        "insert into releases (served, actor, action, reason)"
        " select tstzrange(min(lower(served)) - interval '1 day', min(lower(served))),"
        " 'a', 'b', 'c' from releases"
    )
    served.execute(old)
    sound = rows(served)
    assert not unlike_the_log(served)
    tamper(served, "delete from releases where release_id = 2")
    restore_from_log(served)
    assert rows(served) == sound


def test_a_broken_log_restores_nothing(served: postgres.Connection) -> None:
    tamper(served, "delete from releases where release_id = 2")
    left = rows(served)
    served.execute("alter table model_audit_logs disable trigger all")
    served.execute("update model_audit_logs set reason = 'other' where entry_id = 1")
    assert not unlike_the_log(served)
    restore_from_log(served)
    assert rows(served) == left


def test_without_releases_nothing_is_wrong(connection: postgres.Connection) -> None:
    assert not unlike_the_log(connection)
