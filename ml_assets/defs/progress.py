"""How far a stage is: assets report through a resource, and the caller decides who sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from ml_assets.progress import Progress, no_progress


class StageProgress(Protocol):
    """Who wants to see how far a stage is."""

    def stage(self, name: str) -> AbstractContextManager[Progress]:
        """Begin a stage; the callable takes (done, total), total 0 while it is unknown."""


class SilentProgress:
    """Shows nothing: runs of the UI, the daemon and CI have Dagster's own log."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """Begin a stage that nobody watches."""
        yield no_progress
