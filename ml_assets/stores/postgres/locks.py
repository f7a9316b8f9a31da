"""Locks over all processes that use one PostgreSQL, on whatever host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg

from ml_assets.errors import first_line
from ml_assets.stores.postgres.connection import connect
from ml_assets.stores.postgres.statements import Connection
from ml_assets.stores.sql import statement

_POLL_SECONDS = 0.05
_WATCH_SECONDS = 1.0
"""Between two looks whether the session that holds the locks of a worker is still there."""

DOCUMENTS = "ml_schema.documents"
"""Held by who writes documents, from before its transaction begins until it is committed."""

ANOTHER_RUN = "Another run is at work on the same data; waiting for it to end."


def turn(connection: Connection, notify: Callable[[str], None]) -> AbstractContextManager[None]:
    """Exclude every other run that writes, until the end of the block; tell it while waiting."""
    return exclusive(connection, "ml_assets.run", lambda: notify(ANOTHER_RUN))


@contextmanager
def at_work(
    url: str | None,
    home: Path,
    worker: str,
    notify: Callable[[str], None],
    lost: Callable[[str], None],
) -> Iterator[None]:
    """Let all hosts see that `worker` lives, wait for its turn, and have it for the block.

    A session that ends gives up both, whatever ended it; its worker must not go on then. `lost` is
    called with a line for a person, in a thread of its own, as soon as that is seen.
    """
    with connect(url, home) as connection:
        connection.execute(statement("postgres/stores/notice_lost_hosts"))
        with (
            exclusive(connection, f"ml_assets.worker:{worker}"),
            turn(connection, notify),
            _watched(connection, lost),
        ):
            yield


def gone_workers(connection: Connection, workers: Collection[str]) -> set[str]:
    """Those of `workers` that are not `at_work`, on any host, nor wait for their turn."""
    rows = connection.execute(statement("postgres/stores/gone_workers"), [list(workers)])
    return {worker for (worker,) in rows}


@contextmanager
def exclusive(
    connection: Connection, name: str, waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the advisory lock `name`, waiting for one's turn; a session that ends lets it go.

    A session that holds it already gets it again. `waiting` is called once if another holds it.
    """
    if not _try(connection, name):
        waiting()
        # Asked again and again: who waits inside PostgreSQL holds a snapshot open, and vacuum up.
        while not _try(connection, name):
            time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("select pg_advisory_unlock(hashtext(%s))", [name])


def acquired(connection: Connection, name: str) -> bool:
    """Whether nobody else holds the advisory lock `name`; then the present transaction has it."""
    row = connection.execute("select pg_try_advisory_xact_lock(hashtext(%s))", [name]).fetchone()
    return row == (True,)


def _try(connection: Connection, name: str) -> bool:
    row = connection.execute("select pg_try_advisory_lock(hashtext(%s))", [name]).fetchone()
    return row == (True,)


@contextmanager
def _watched(connection: Connection, lost: Callable[[str], None]) -> Iterator[None]:
    """Call `lost` when the session ends within the block, in which nobody else may use it."""
    left = threading.Event()

    def watch() -> None:
        while not left.wait(_WATCH_SECONDS):
            try:
                connection.execute("select 1")
            except psycopg.Error as error:
                lost(
                    "The session in PostgreSQL that kept other runs from writing has ended"
                    f" ({first_line(error)}), and this run with it"
                )
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
