"""Roles: who may do what, what is refused and logged, and that an admin is left."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from ml_assets.errors import NothingToDoError, RoleError, StoreError, UserError
from ml_assets.releases import audit
from ml_assets.releases.audit import Entry, append
from ml_assets.releases.rights import FREE, LEAST, ROLES
from ml_assets.releases.roles import authorize, grant, read_roles, revoke, viewer_statements
from ml_assets.stores import postgres
from ml_assets_tests.paths import PROJECT


@pytest.fixture
def staffed(connection: postgres.Connection) -> postgres.Connection:
    """One actor of each role, named after it."""
    for role in reversed(ROLES):
        grant(connection, role, role, "admin", "the team")
    return connection


def actions(connection: postgres.Connection) -> list[tuple[str, str, str]]:
    entries = audit.read_entries(connection, 100)
    return [(entry.actor, entry.action, entry.subject) for entry in entries]


def test_without_roles_everybody_may_do_everything(connection: postgres.Connection) -> None:
    for action in LEAST:
        authorize(connection, "nobody", action, "x")
    assert actions(connection) == read_roles(connection) == []


@pytest.mark.parametrize("action", LEAST)
def test_each_action_takes_its_role_or_a_greater_one(
    staffed: postgres.Connection, action: str
) -> None:
    for role in ROLES:
        if ROLES.index(role) >= ROLES.index(LEAST[action]):
            authorize(staffed, role, action, "x")
        else:
            with pytest.raises(RoleError, match=f"is an? {role}, and may not {action}: that takes"):
                authorize(staffed, role, action, "x")
    with pytest.raises(RoleError, match="'nobody' has no role, and may not"):
        authorize(staffed, "nobody", action, "x")


def test_what_each_role_may() -> None:
    may = {
        role: {name for name, least in LEAST.items() if ROLES.index(least) <= ROLES.index(role)}
        for role in ROLES
    }
    assert may["viewer"] == set()
    assert may["trainer"] == {
        *("run", "repair", "register", "refuse", "wait", "tune", "drop", "publish", "promote")
    }
    by_hand = {"publish by hand", "approve", "rollback", "drop by hand"}
    assert may["approver"] == may["trainer"] | by_hand
    assert may["admin"] == set(LEAST)


def test_a_refusal_is_one_line_and_an_entry(staffed: postgres.Connection) -> None:
    with pytest.raises(RoleError) as caught:
        authorize(staffed, "viewer", "rollback", "release:1")
    assert str(caught.value) == (
        "roles: 'viewer' is a viewer, and may not rollback: that takes an approver."
        " Ask an admin of `ml-assets roles` for it"
    )
    entry = audit.read_entries(staffed, 1)[0]
    assert (entry.actor, entry.action, entry.subject) == ("viewer", "deny", "release:1")
    assert entry.details == {"action": "rollback"}
    assert audit.verify(staffed) is None


def test_an_action_that_forgot_to_ask_is_refused_all_the_same(
    staffed: postgres.Connection,
) -> None:
    before = actions(staffed)
    for action in (*LEAST, "what nobody knows"):
        with pytest.raises(RoleError), staffed.transaction():
            append(staffed, Entry("nobody", action, "x", "y"))
    assert actions(staffed) == before
    append(staffed, Entry("admin", "what nobody knows", "x", "y"))
    for action in FREE:
        append(staffed, Entry("nobody", action, "x", "y"))


def test_every_action_of_the_code_is_known() -> None:
    """An entry is written by `Entry(actor, action, …)`; the action is a word, or a variable."""
    package = PROJECT / "ml_assets"
    code = "".join(file.read_text("utf-8") for file in package.rglob("*.py"))
    written = set(re.findall(r"\bEntry\(\s*[\w.()]+,\s*\"([\w ]+)\"", code))
    asked = set(re.findall(r"\bauthorize\(\s*\w+, [\w.]+, \"([\w ]+)\"", code))
    assert len(written) > 8
    assert written | asked <= {*LEAST, *FREE}
    assert set(LEAST) - written - asked <= {"wait", "refuse", "tune", "migrate", "forget"}


def test_a_role_replaces_another_and_is_taken_away(staffed: postgres.Connection) -> None:
    grant(staffed, "trainer", "approver", "admin", "grown")
    revoke(staffed, "viewer", "admin", "left")
    assert {row.actor: (row.role, row.granted_by) for row in read_roles(staffed)} == {
        "admin": ("admin", "admin"),
        "approver": ("approver", "admin"),
        "trainer": ("approver", "admin"),
    }
    granted, revoked = audit.read_entries(staffed, 2)
    grant(staffed, "trainer", "approver", "admin")
    assert audit.read_entries(staffed, 1) == [revoked]
    assert granted.details == {"role": "approver", "before": "trainer"}
    assert revoked.details == {"before": "viewer"}
    assert (granted.reason, revoked.reason) == ("grown", "left")


Change = Callable[[postgres.Connection], None]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda c: revoke(c, "admin", "admin"), UserError, "'admin' is the last admin"),
        (lambda c: grant(c, "admin", "viewer", "admin"), UserError, "'admin' is the last admin"),
        (lambda c: revoke(c, "ann", "admin"), NothingToDoError, "'ann' has no role"),
        (lambda c: grant(c, "ann", "owner", "admin"), UserError, "no role 'owner'. Known: viewer"),
        (lambda c: grant(c, " ", "viewer", "admin"), UserError, "is no name"),
        (lambda c: grant(c, "a\nb", "viewer", "admin"), UserError, "is no name"),
        (lambda c: grant(c, "ann", "admin", "approver"), RoleError, "'approver' is an approver"),
        (lambda c: revoke(c, "viewer", "ann"), RoleError, "'ann' has no role"),
    ],
)
def test_what_cannot_be_given_or_taken_is_said(
    staffed: postgres.Connection, change: Change, error: type[UserError], said: str
) -> None:
    before = read_roles(staffed)
    with pytest.raises(error, match=said):
        change(staffed)
    assert read_roles(staffed) == before


def test_the_first_role_is_that_of_an_admin(connection: postgres.Connection) -> None:
    with pytest.raises(UserError, match="the first role is that of an admin"):
        grant(connection, "ann", "trainer", "ann")
    assert read_roles(connection) == []
    grant(connection, "ann", "admin", "bob")
    with pytest.raises(UserError, match="last admin"):
        revoke(connection, "ann", "ann")


def test_of_two_last_admins_one_stays(connection: postgres.Connection, postgres_url: str) -> None:
    grant(connection, "ann", "admin", "ann")
    grant(connection, "bob", "admin", "ann")

    def leave(actor: str) -> bool:
        with postgres.connect(postgres_url, Path()) as own:
            try:
                revoke(own, actor, actor)
            except UserError:
                return False
        return True

    with ThreadPoolExecutor(2) as threads:
        left = [*threads.map(leave, ("ann", "bob"))]
    assert sorted(left) == [False, True]
    assert [row.role for row in read_roles(connection)] == ["admin"]


def test_a_role_that_another_hand_gives_shows(staffed: postgres.Connection) -> None:
    staffed.execute("alter table model_audit_logs disable trigger all")
    staffed.execute(
        'update model_audit_logs set details = \'{"role": "admin"}\''
        " where subject = 'actor/viewer'"
    )
    assert "its content was altered" in str(audit.verify(staffed))


@pytest.fixture
def login(superuser: postgres.Connection) -> Iterator[str]:
    name = "a reader"
    superuser.execute("create role \"a reader\" login password 'x'")
    yield name
    superuser.execute('drop owned by "a reader"; drop role "a reader"')


def test_postgresql_lets_a_viewer_read_and_never_write(
    staffed: postgres.Connection, postgres_url: str, login: str
) -> None:
    # As if somebody had let it write before.
    staffed.execute('grant insert, update on all tables in schema ml_schema to "a reader"')
    for line in viewer_statements(staffed, login):
        staffed.execute(line)  # type: ignore[call-overload]
    staffed.execute("create table made_later (a int)")
    parts = urlsplit(postgres_url)
    place = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(netloc=f"a%20reader:x@{place}"))
    with postgres.connect(url, Path()) as reader:
        assert len(read_roles(reader)) == len(ROLES)
        tables = reader.execute(
            "select tablename from pg_tables where schemaname = 'ml_schema' order by 1"
        ).fetchall()
        assert ("made_later",) in tables
        for (table,) in tables:
            reader.execute(f"select from {table}")
            for statement in (
                f"insert into {table} default values",
                f"delete from {table}",
                f"truncate {table}",
                f"drop table {table}",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    reader.execute(statement)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("create table ml_schema.own (a int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            append(reader, Entry("admin", "publish", "x", "y"))
    with pytest.raises(StoreError, match="permission denied"), postgres.connect(url, Path()) as own:
        grant(own, "viewer", "admin", "admin")


def test_a_login_that_could_write_all_the_same_is_told(
    connection: postgres.Connection, superuser: postgres.Connection, login: str
) -> None:
    owner = connection.info.user
    with pytest.raises(UserError, match="is, or is a member of, the owner of the tables"):
        viewer_statements(connection, owner)
    with pytest.raises(UserError, match="is a superuser"):
        viewer_statements(connection, superuser.info.user)
    superuser.execute(f'grant {owner} to "a reader"')
    with pytest.raises(UserError, match="is, or is a member of, the owner"):
        viewer_statements(connection, login)
    with pytest.raises(UserError, match=r"PostgreSQL has no login 'ann'\. Create it: `create role"):
        viewer_statements(connection, "ann")
