"""The audit log: append-only, and a chain that shows what was done to it."""

import psycopg
import pytest

from ml_assets.releases.audit import (
    Entry,
    append,
    count_entries,
    last_entry,
    verify,
)
from ml_assets.stores import postgres

ALTERED = "its content was altered"
MISSING = "the entry before it is missing or altered"
CUT = "the last entries are missing, or others stand in their place"


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


@pytest.mark.parametrize(
    "statement",
    [
        "delete from model_audit_logs where entry_id = 5",
        "delete from model_audit_logs where entry_id > 2",
        "delete from model_audit_logs",
        APPENDED,
    ],
)
def test_another_end_shows_for_good(log: postgres.Connection, statement: str) -> None:
    tamper(log, statement)
    assert verify(log) == CUT
    append(log, Entry("tester", "promote", "model/6", "because"))
    assert verify(log) == CUT


@pytest.mark.parametrize(
    "statement", ["update model_audit_logs set reason = ''", "delete from model_audit_logs"]
)
def test_it_is_append_only(log: postgres.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        log.execute(statement)
