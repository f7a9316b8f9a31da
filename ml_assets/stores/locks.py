"""Locks over all processes that use one PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ml_assets.stores.postgres import Connection

_POLL_SECONDS = 0.05


@contextmanager
def exclusive(connection: Connection, name: str) -> Iterator[None]:
    """Hold the advisory lock `name`, waiting for one's turn; a session that ends lets it go.

    A session that holds it already gets it again.
    """
    # Asked again and again: who waits inside PostgreSQL holds a snapshot open, and vacuum up.
    while connection.execute("select pg_try_advisory_lock(hashtext(%s))", [name]).fetchone() != (
        True,
    ):
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("select pg_advisory_unlock(hashtext(%s))", [name])
