"""Waiting for a store that another process holds, or that is only just starting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def patiently(
    attempt: Callable[[], T],
    may_pass: Callable[[BaseException], bool],
    *,
    seconds: float,
    pause: float,
    longest_pause: float = 1.0,
) -> T:
    """Call `attempt` until it succeeds, with pauses that double from `pause` seconds on.

    The error is raised when it is not one that `may_pass`, or when the next pause would end after
    more than `seconds` in all.
    """
    from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_exponential

    retrying = Retrying(
        retry=retry_if_exception(may_pass),
        stop=stop_before_delay(seconds),
        wait=wait_exponential(multiplier=pause, max=longest_pause),
        reraise=True,
    )
    return retrying(attempt)
