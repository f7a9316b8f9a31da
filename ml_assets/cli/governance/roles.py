"""Commands of roles: who may do what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer
from rich.markup import escape

from ml_assets.cli.app import Json, app, command, connected, out, reading, show
from ml_assets.console import records

roles = typer.Typer(no_args_is_help=True, help="Give, take and list the roles of actors.")
app.add_typer(roles, name="roles")

Actor = Annotated[str, typer.Argument(help="Who: what ML_ASSETS_ACTOR or the user's name is.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]


def _of_roles(name: str) -> Callable[[Callable[..., None]], None]:
    return partial(command, group=roles, name=name)


@_of_roles("list")
def list_roles(as_json: Json = False) -> None:
    """Show who has which role, since when, and who gave it.

    While nobody has one, everybody may do everything.
    """
    from ml_assets.releases.roles import read_roles

    with reading() as (_, connection):
        rows = [asdict(row) for row in read_roles(connection)]
    show(rows, lambda: records.roles(rows), as_json=as_json)


@_of_roles("grant")
def grant(
    actor: Actor,
    role: Annotated[str, typer.Argument(help="viewer, trainer, approver or admin.")],
    reason: Reason = "",
) -> None:
    """Give an actor a role, in place of the one that it has; the first is that of an admin.

    A trainer runs, an approver also publishes, approves and rolls back, an admin does all. Example:
    ml-assets roles grant ann admin
    """
    from ml_assets.releases.roles import grant as give

    with connected() as (settings, connection):
        give(connection, actor, role, settings.actor, reason)
    out.print(escape(f"{actor} has the role {role}."), highlight=False)


@_of_roles("revoke")
def revoke(actor: Actor, reason: Reason = "") -> None:
    """Take the role of an actor away; it then may only look. The last admin stays one."""
    from ml_assets.releases.roles import revoke as take

    with connected() as (settings, connection):
        take(connection, actor, settings.actor, reason)
    out.print(escape(f"{actor} has no role any more."), highlight=False)


@_of_roles("sql")
def statements(
    login: Annotated[str, typer.Argument(help="A login of PostgreSQL that is to read only.")],
) -> None:
    """Print the statements by which PostgreSQL itself lets a login read, and never write.

    The owner of the tables executes them. Example: ml-assets roles sql reader
    """
    from ml_assets.releases.roles import viewer_statements

    with reading() as (_, connection):
        for line in viewer_statements(connection, login):
            out.print(line, highlight=False, soft_wrap=True, markup=False)
