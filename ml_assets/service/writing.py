"""The answers that language models write for a process, each in a thread that waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from ml_assets.service.refusals import busy

T = TypeVar("T")


class Writing:
    """So many at a time; one more is refused: a model that is shared writes slowly for all."""

    def __init__(self, most: int) -> None:
        """Nothing is written yet."""
        self._most, self._now = most, 0

    async def parts(self, parts: Iterator[T]) -> AsyncIterator[T]:
        """The parts of an answer, each as soon as it is there.

        When who asked has gone, it ends with the next part; no thread keeps the process alive.

        Raises:
            RefusedError: so many are being written that this one would wait.
        """
        if self._now >= self._most:
            raise busy("there is too much to answer")
        self._now += 1
        loop, gone = asyncio.get_running_loop(), threading.Event()
        queue: asyncio.Queue[T | Exception | None] = asyncio.Queue()

        def in_loop(function: Callable[..., None], *given: T | Exception | None) -> None:
            with suppress(RuntimeError):  # the process ends
                loop.call_soon_threadsafe(function, *given)

        def end(error: Exception | None) -> None:
            self._now -= 1  # before who asked learns of it, and asks again
            queue.put_nowait(error)

        def write() -> None:
            failure: Exception | None = None
            try:
                for part in parts:
                    if gone.is_set():
                        break
                    in_loop(queue.put_nowait, part)
            except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
                failure = error
            finally:
                in_loop(end, failure)

        threading.Thread(target=write, name="answer", daemon=True).start()
        try:
            while (part := await queue.get()) is not None:
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            gone.set()
