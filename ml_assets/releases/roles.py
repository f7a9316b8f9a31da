"""Roles of actors: granted, revoked, and asked for before each governed action.

They are read from the audit log, where granting and revoking stand, so that a role which another
hand gives shows as an altered log. While nobody has a role, everybody may do everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.rows import class_row

from ml_assets.errors import NothingToDoError, RoleError, UserError
from ml_assets.releases.audit import Entry, append
from ml_assets.releases.rights import ROLES, Role, refuse_forbidden
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

_LOCK = "ml_schema.roles"


@dataclass(frozen=True, slots=True)
class Grant:
    """The role of an actor, since when, and who gave it."""

    actor: str
    role: Role
    granted_at: datetime
    granted_by: str


def authorize(connection: postgres.Connection, actor: str, action: str, subject: str) -> None:
    """Ask, before anything is done, whether an actor may; a refusal stands in the audit log.

    Call it outside of a transaction: with one that is rolled back the entry would go.

    Raises:
        RoleError: the actor may not.
    """
    try:
        refuse_forbidden(connection, actor, action)
    except RoleError as error:
        append(connection, Entry(actor, "deny", subject, error.what, {"action": action}))
        raise


def read_roles(connection: postgres.Connection) -> list[Grant]:
    """Who has which role, by actor; none: everybody may do everything."""
    with connection.cursor(row_factory=class_row(Grant)) as cursor:
        query = "select actor, role, granted_at, granted_by from roles order by actor"
        return cursor.execute(query).fetchall()


def grant(
    connection: postgres.Connection, actor: str, role: str, granted_by: str, reason: str = ""
) -> None:
    """Give an actor a role, in place of the one that it has; one that it has already stays.

    Raises:
        RoleError: `granted_by` is no admin.
        UserError: there is no such role, the actor has no name, or no admin would be left.
    """
    if not actor.strip() or not actor.isprintable():
        raise UserError(f"{actor!r} is no name", where="roles", do="Say who is to have the role")
    if role not in ROLES:
        raise UserError(f"there is no role {role!r}", where="roles", do=f"Known: {_known()}")
    authorize(connection, granted_by, "grant role", _subject(actor))
    with _alone(connection):
        roles = {row.actor: row.role for row in read_roles(connection)}
        if roles.get(actor) == role:
            return
        _refuse_no_admin(roles, {**roles, actor: role}, actor)
        details = {"role": role, "before": roles.get(actor)}
        entry = Entry(granted_by, "grant role", _subject(actor), reason, details)
        append(connection, entry)


def revoke(connection: postgres.Connection, actor: str, revoked_by: str, reason: str = "") -> None:
    """Take the role of an actor away.

    Raises:
        RoleError: `revoked_by` is no admin.
        UserError: the actor has none, or is the last admin.
    """
    authorize(connection, revoked_by, "revoke role", _subject(actor))
    with _alone(connection):
        roles = {row.actor: row.role for row in read_roles(connection)}
        if actor not in roles:
            what = f"{actor!r} has no role"
            raise NothingToDoError(what, where="roles", do="See `ml-assets roles list`")
        left = {name: role for name, role in roles.items() if name != actor}
        _refuse_no_admin(roles, left, actor)
        entry = Entry(revoked_by, "revoke role", _subject(actor), reason, {"before": roles[actor]})
        append(connection, entry)


def _refuse_no_admin(before: dict[str, Role], after: dict[str, Role], actor: str) -> None:
    if "admin" in after.values():
        return
    if not before:
        raise UserError(
            "the first role is that of an admin, or nobody could give another",
            where="roles",
            do="Run `ml-assets roles grant NAME admin` first",
        )
    raise UserError(
        f"{actor!r} is the last admin, and without one nobody could give a role",
        where="roles",
        do="Make somebody else an admin before",
    )


@contextmanager
def _alone(connection: postgres.Connection) -> Iterator[None]:
    """A transaction in which nobody else gives or takes roles: two last admins would both go."""
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [_LOCK])
        yield


def _subject(actor: str) -> str:
    return f"actor/{actor}"


def _known() -> str:
    return ", ".join(ROLES)


def viewer_statements(connection: postgres.Connection, login: str) -> list[str]:
    """What the owner of the tables executes so that a login may read all of them, and never write.

    Tables that its owner makes later are included.

    Raises:
        UserError: there is no such login, or it could write all the same.
    """
    row = connection.execute(statement("postgres/releases/login"), {"login": login}).fetchone()
    if row is None:
        do = f"Create it: `create role {login} login`" if login.isidentifier() else "Create it"
        raise UserError(f"PostgreSQL has no login {login!r}", where="roles", do=do)
    owner, writes, why = row
    if writes:
        raise UserError(
            f"{login!r} {why}, and could write all the same",
            where="roles",
            do="Name a login that is neither",
        )
    bound = {"login": sql.Identifier(login), "owner": sql.Identifier(owner)}
    text = statement("postgres/releases/viewer_grants").strip()
    return [sql.SQL(line).format(**bound).as_string(connection) for line in text.splitlines()]
