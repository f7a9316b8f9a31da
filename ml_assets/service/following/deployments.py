"""Which processes serve, where, and from which release."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import class_row

from ml_assets.stores import postgres
from ml_assets.stores.sql import statement


@dataclass(frozen=True, slots=True)
class Process:
    """This process, as others see it."""

    address: str
    process_id: UUID = field(default_factory=uuid4)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    version: str = field(default_factory=lambda: version("ml-assets"))


@dataclass(frozen=True, slots=True)
class Deployment:
    """A process that serves; `release_id` None: nothing was published yet."""

    host: str
    pid: int
    address: str
    version: str
    release_id: int | None
    since: datetime
    seen_at: datetime


def record(
    connection: postgres.Connection, process: Process, release_id: int | None, since: datetime
) -> None:
    """Tell that a process lives, and which release it has answered from since when."""
    bound: dict[str, Any] = {
        name: getattr(process, name) for name in ("process_id", "host", "pid", "address", "version")
    }
    bound |= {"release_id": release_id, "since": since}
    connection.execute(statement("postgres/service/record_deployment"), bound)


def forget(connection: postgres.Connection, process: Process) -> None:
    """The process ends; those that ended long ago without a word are forgotten, too."""
    bound = {"process_id": process.process_id}
    connection.execute(statement("postgres/service/forget_deployments"), bound)


def read_deployments(connection: postgres.Connection) -> list[Deployment]:
    """The processes that serve, as far as they were heard of in the last minute."""
    with connection.cursor(row_factory=class_row(Deployment)) as cursor:
        return cursor.execute(statement("postgres/service/deployments")).fetchall()
