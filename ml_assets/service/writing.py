"""The answers that language models write for a process, each in a thread that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ml_assets.service.refusals import RETRY_SECONDS, RefusedError

T = TypeVar("T")


class Writing:
    """So many at a time; one more is refused, since a model that is shared is as slow as many."""

    def __init__(self, most: int) -> None:
        """Nothing is written yet."""
        self._threads = ThreadPoolExecutor(most, "answer")
        self._most, self._now = most, 0

    async def parts(self, parts: Iterator[T]) -> AsyncIterator[T]:
        """The parts of an answer, each as soon as it is there.

        Who asked may go: what waits for the model then ends with its next word.

        Raises:
            RefusedError: so many are being written that this one would wait.
        """
        if self._now >= self._most:
            raise RefusedError(503, "busy", "there is too much to answer", retry=RETRY_SECONDS)
        self._now += 1
        loop = asyncio.get_running_loop()
        try:
            while (
                part := await loop.run_in_executor(self._threads, next, parts, None)
            ) is not None:
                yield part
        finally:
            self._now -= 1

    def close(self) -> None:
        """End the threads; nobody waits for an answer any more."""
        self._threads.shutdown(cancel_futures=True)
