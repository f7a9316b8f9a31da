"""Waiting for a store that another process holds, or that is only just starting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from ml_assets.errors import OutageError

T = TypeVar("T")


_patience: ContextVar[tuple[float, Callable[[str], None]]] = ContextVar(
    "patience", default=(0.0, lambda line: None)
)


@contextmanager
def outages_awaited(seconds: float, tell: Callable[[str], None]) -> Iterator[None]:
    """Wait for so long, within the block, for a store that does not answer; tell it once.

    Without it, who asks is answered at once.
    """
    token = _patience.set((seconds, tell))
    try:
        yield
    finally:
        _patience.reset(token)


def until_it_answers(attempt: Callable[[], T]) -> T:
    """Call `attempt`, which opens a store, again and again where `outages_awaited`."""
    seconds, tell = _patience.get()
    announced: list[OutageError] = []

    def may_pass(error: Exception) -> bool:
        if isinstance(error, OutageError) and seconds and not announced:
            announced.append(error)
            tell(f"{error.reason}. Waiting for it, at most {seconds:g} s")
        return isinstance(error, OutageError)

    return patiently(attempt, may_pass, seconds=seconds, pause=0.1)


def patiently(
    attempt: Callable[[], T],
    may_pass: Callable[[Exception], bool],
    *,
    seconds: float,
    pause: float,
    longest_pause: float = 1.0,
) -> T:
    """Call `attempt` until it succeeds, with pauses that double from `pause` seconds on.

    The error is raised when it is not one that `may_pass`, or when the next pause would end after
    more than `seconds` in all.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except Exception as error:
            if not may_pass(error) or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, longest_pause)
