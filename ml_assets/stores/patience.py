"""Waiting for a store that another process holds, or that is only just starting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


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
