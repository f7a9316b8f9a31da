"""Locks over all processes that use one PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ml_assets.stores.postgres.statements import Connection

_POLL_SECONDS = 0.05


ANOTHER_RUN = "Another run is at work on the same data; waiting for it to end."


def turn(connection: Connection, notify: Callable[[str], None]) -> AbstractContextManager[None]:
    """Exclude every other run that writes, until the end of the block; tell it while waiting."""
    return exclusive(connection, "ml_assets.run", lambda: notify(ANOTHER_RUN))


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


def _try(connection: Connection, name: str) -> bool:
    row = connection.execute("select pg_try_advisory_lock(hashtext(%s))", [name]).fetchone()
    return row == (True,)
