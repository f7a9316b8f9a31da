"""How a long step tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total); total is 0 while it is unknown."""


def no_progress(done: int, total: int) -> None:
    """Report nothing."""
