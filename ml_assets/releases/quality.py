"""The data check of releases: each is as the audit log tells, from which it is written again."""

from __future__ import annotations

from ml_assets.problem import Problem
from ml_assets.releases.audit import verify
from ml_assets.releases.pointer import turn
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


def unlike_the_log(connection: postgres.Connection) -> list[Problem]:
    """Releases that another hand added, removed or changed; none where the log itself is broken.

    What was released before the log told of each release is not compared.
    """
    if verify(connection):
        return []
    return postgres.read_problems(connection, "postgres/releases/unlike_the_log", {})


def restore_from_log(connection: postgres.Connection) -> None:
    """Write the releases again that are not as the audit log tells, if it is sound itself.

    Their table is append-only for all but its owner, as whom we connect.
    """
    with turn(connection):
        if not unlike_the_log(connection):
            return
        connection.execute("alter table releases disable trigger user")
        connection.execute(statement("postgres/releases/forget_logged"))
        connection.execute(statement("postgres/releases/restore_releases"))
        connection.execute("alter table releases enable trigger user")
