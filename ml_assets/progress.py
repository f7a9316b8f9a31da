"""How a long step tells how far it is, and who sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[int, int], None]
"""Called with (done, total); total is 0 while it is unknown."""

StageProgress = Callable[[str], AbstractContextManager[Progress]]
"""Begins a stage of a run, of this name, for who wants to see how far it is."""


def no_progress(done: int, total: int) -> None:
    """Report nothing."""
