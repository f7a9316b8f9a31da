"""What each role may do: for every governed action the least role that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from ml_assets.errors import RoleError
from ml_assets.stores import postgres

Role = Literal["viewer", "trainer", "approver", "admin"]
"""Each may do what those before it may."""
ROLES: tuple[Role, ...] = get_args(Role)

LEAST: Mapping[str, Role] = {
    **dict.fromkeys(("run", "repair", "register", "refuse", "wait", "tune", "drop"), "trainer"),
    # By a run, past its gates; what a person publishes takes more.
    **dict.fromkeys(("publish", "promote"), "trainer"),
    **dict.fromkeys(("publish by hand", "approve", "rollback", "drop by hand"), "approver"),
    **dict.fromkeys(("create key", "revoke key", "grant role", "revoke role"), "admin"),
    **dict.fromkeys(("restore", "migrate", "anchor anew", "forget"), "admin"),
}
"""The governed actions."""

FREE = ("anchor", "deny")
"""Entries that tell of the log itself, whoever acts."""


def refuse_forbidden(connection: postgres.Connection, actor: str, action: str) -> None:
    """Stop who lacks the role for an action; one that is not known takes an admin.

    Raises:
        RoleError: roles were granted, and the actor has none, or a lesser one.
    """
    least = LEAST.get(action, "admin")
    if action in FREE or connection.execute("select may(%s, %s)", [actor, least]).fetchone() == (
        True,
    ):
        return
    row = connection.execute("select role from roles where actor = %s", [actor]).fetchone()
    has = f"is {article(row[0])}" if row else "has no role"
    raise RoleError(
        f"{actor!r} {has}, and may not {action}: that takes {article(least)}",
        where="roles",
        do="Ask an admin of `ml-assets roles` for it",
    )


def article(role: str) -> str:
    """A role with its article."""
    return f"an {role}" if role.startswith("a") else f"a {role}"
