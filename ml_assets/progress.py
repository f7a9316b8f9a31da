"""How a long step tells how far it is, and who sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Progress = Callable[[int, int], None]
"""Called with (done, total); total is 0 while it is unknown."""


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


class StageProgress(Protocol):
    """Who wants to see how far each stage of a run is."""

    def stage(self, name: str) -> AbstractContextManager[Progress]:
        """Begin a stage."""


class SilentProgress:
    """Shows nothing: runs of the UI, the daemon and CI have Dagster's own log."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Begin a stage that nobody watches."""
        yield no_progress
