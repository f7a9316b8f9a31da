"""The audit log: append-only, and a chain that shows what was done to it."""

import json
import socket

import psycopg
import pytest

from ml_assets.releases.audit import (
    Entry,
    append,
    count_entries,
    export,
    last_entry,
    read_entries,
    verify,
)
from ml_assets.stores import postgres

ALTERED = "its content was altered"
MISSING = "the entry before it is missing or altered"
CUT = "it is missing: the end was cut off"
APPENDED_BY = "it was put in by another hand, behind the last entry"
REPLACED_BY = "another entry is in its place, which was the last"


@pytest.fixture
def log(connection: postgres.Connection) -> postgres.Connection:
    for number in range(1, 6):
        details = {"number": number, "nested": {"a": [1.5, None, "é"]}}
        append(connection, Entry("tester", "promote", f"model/{number}", "because", details))
    return connection


def tamper(connection: postgres.Connection, statement: str) -> None:
    """Change the log as its owner could: with the trigger switched off."""
    connection.execute("alter table model_audit_logs disable trigger all")
    connection.execute(statement)
    connection.execute("alter table model_audit_logs enable trigger all")


def test_an_untouched_log_is_intact(log: postgres.Connection) -> None:
    assert verify(log) is None
    assert count_entries(log) == count_entries(log, action="promote") == 5
    assert count_entries(log, "model/3", "promote") == 1
    assert count_entries(log, "model/3", "refuse") == count_entries(log, "model/30") == 0
    assert last_entry(log, "promote") == (
        "model/5",
        {"number": 5, "nested": {"a": [1.5, None, "é"]}},
    )
    assert last_entry(log, "refuse") is None


def test_an_empty_log_is_intact(connection: postgres.Connection) -> None:
    assert verify(connection) is None


SWAPPED = (
    "update model_audit_logs a set (logged_at, subject, details, previous_hash) ="
    " (select logged_at, subject, details, previous_hash from model_audit_logs b"
    " where b.entry_id = 5 - a.entry_id) where entry_id in (2, 3)"
)
APPENDED = (
    "insert into model_audit_logs"
    " (logged_at, actor, action, subject, reason, details, previous_hash, entry_hash)"
    " select logged_at, actor, action, subject, reason, details, entry_hash,"
    " audit_hash(entry_hash, logged_at, actor, action, subject, reason, details)"
    " from model_audit_logs where entry_id = 5"
)


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("update model_audit_logs set reason = 'other' where entry_id = 3", (3, ALTERED)),
        ("update model_audit_logs set details = '{}' where entry_id = 1", (1, ALTERED)),
        ("update model_audit_logs set logged_at = now() where entry_id = 2", (2, ALTERED)),
        ("update model_audit_logs set actor = 'nobody' where entry_id = 5", (5, ALTERED)),
        ("update model_audit_logs set address = 'there' where entry_id = 5", (5, ALTERED)),
        ("update model_audit_logs set address = null where entry_id = 4", (4, ALTERED)),
        ("delete from model_audit_logs where entry_id = 3", (4, MISSING)),
        ("delete from model_audit_logs where entry_id = 1", (2, MISSING)),
        (SWAPPED, (2, MISSING)),
        (
            "update model_audit_logs set entry_hash = sha256('x') where entry_id = 4",
            (4, ALTERED),
        ),
    ],
)
def test_what_was_done_to_it_shows(
    log: postgres.Connection, statement: str, broken: tuple[int, str]
) -> None:
    tamper(log, statement)
    assert verify(log) == f"{broken[0]}: {broken[1]}"


REPLACED = (
    "update model_audit_logs set actor = 'eve', entry_hash = audit_hash(previous_hash, logged_at,"
    " 'eve', action, subject, reason, details, address) where entry_id = 5"
)
"""The last entry, with a hash that is right for what it says now."""


@pytest.mark.parametrize(
    ("statement", "first", "later"),
    [
        ("delete from model_audit_logs where entry_id = 5", f"5: {CUT}", f"5: {CUT}"),
        ("delete from model_audit_logs where entry_id > 2", f"3: {CUT}", f"5: {CUT}"),
        ("delete from model_audit_logs", f"1: {CUT}", f"5: {CUT}"),
        (APPENDED, f"6: {APPENDED_BY}", f"6: {APPENDED_BY}"),
        (f"{APPENDED}; {APPENDED.replace('= 5', '= 6')}", f"6: {APPENDED_BY}", f"6: {APPENDED_BY}"),
        (REPLACED, f"5: {REPLACED_BY}", f"5: {REPLACED_BY}"),
    ],
)
def test_another_end_shows_for_good_by_its_number(
    log: postgres.Connection, statement: str, first: str, later: str
) -> None:
    tamper(log, statement)
    assert verify(log) == first
    append(log, Entry("tester", "promote", "model/6", "because"))
    assert verify(log) == later


def test_the_end_that_a_rollback_left_has_no_gap(log: postgres.Connection) -> None:
    with log.transaction(force_rollback=True):
        append(log, Entry("tester", "promote", "model/6", "because"))
    append(log, Entry("tester", "promote", "model/7", "because"))
    assert read_entries(log, 1)[0].entry_id == 7
    assert verify(log) is None
    tamper(log, "delete from model_audit_logs where entry_id = 7")
    assert verify(log) == f"6: {CUT}"


@pytest.mark.parametrize(
    "statement", ["update model_audit_logs set reason = ''", "delete from model_audit_logs"]
)
def test_it_is_append_only(log: postgres.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        log.execute(statement)


OLD = (
    "insert into model_audit_logs"
    " (logged_at, actor, action, subject, reason, details, previous_hash, entry_hash)"
    " select at, 'ann', 'publish', 'a', 'b', '{}', previous, audit_hash(previous, at, 'ann',"
    " 'publish', 'a', 'b', '{}') from (select now() as at, ''::bytea as previous) as first"
)
"""As it was written before addresses were kept."""


def test_entries_of_before_stay_valid_and_the_log_goes_on(connection: postgres.Connection) -> None:
    connection.execute(OLD)
    append(connection, Entry("tester", "promote", "model/1", "because"))
    assert verify(connection) is None
    old, new = read_entries(connection, 2)
    assert old.address is None
    assert new.address == f"{socket.gethostname()} 127.0.0.1 as {connection.info.user}"
    tamper(connection, "update model_audit_logs set address = 'here' where entry_id = 1")
    assert verify(connection) == f"1: {ALTERED}"


def test_of_an_entry_on_only_what_follows_is_verified(log: postgres.Connection) -> None:
    tamper(log, "update model_audit_logs set reason = 'other' where entry_id = 2")
    assert verify(log, 3) is None
    assert verify(log, 2) == verify(log) == f"2: {ALTERED}"
    tamper(log, "delete from model_audit_logs where entry_id = 4")
    assert verify(log, 3) == f"5: {MISSING}"


def test_it_is_written_out_with_its_hashes(log: postgres.Connection) -> None:
    lines = [json.loads(line) for line in export(log)]
    assert [line["entry_id"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["previous_hash"] for line in lines[1:]] == [
        line["entry_hash"] for line in lines[:-1]
    ]
    assert lines[0]["previous_hash"] == ""
    assert lines[2]["details"] == {"number": 3, "nested": {"a": [1.5, None, "é"]}}
    assert lines[2].keys() == {
        *("entry_id", "logged_at", "actor", "action", "subject", "reason", "details", "address"),
        *("previous_hash", "entry_hash"),
    }


def test_a_dropped_table_is_told(log: postgres.Connection) -> None:
    log.execute("drop table model_audit_logs cascade")
    assert verify(log) == "1: all entries are missing: the table is gone"
