"""Where backups were written: each may hold what was forgotten after it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ml_assets.operations.manifest import NAME
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup: host and folder, and when it was made.

    `state`: whether it is still there; of another host that is not known.
    """

    host: str
    folder: str
    made_at: datetime
    state: str


def keep_backup(connection: postgres.Connection, folder: Path, made_at: datetime) -> None:
    """Keep where a backup is written; one that is not completed is told as not there."""
    bound = {"host": socket.gethostname(), "folder": str(folder), "made_at": made_at}
    connection.execute(statement("postgres/operations/keep_backup"), bound)


def backups_since(connection: postgres.Connection, since: datetime | None) -> list[Backup]:
    """The backups that were made since then, or all, the oldest first."""
    rows = connection.execute(statement("postgres/operations/backups")).fetchall()
    return [
        Backup(host, folder, made_at, _state(host, folder))
        for host, folder, made_at in rows
        if since is None or made_at >= since
    ]


def _state(host: str, folder: str) -> str:
    if host != socket.gethostname():
        return "on another host"
    return "there" if (Path(folder) / NAME).exists() else "not there any more, or elsewhere"
