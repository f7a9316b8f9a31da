"""How often a key may ask: counted in the online store, by all processes together.

A process takes some requests of a window at a time, and lets these in without asking the store. Of
a limit of fewer than `_PARTS` it takes one; of others it may leave so small a part unused.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from limits import parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, Storage
from limits.strategies import FixedWindowRateLimiter

from ml_assets.errors import StoreError
from ml_assets.service.admission.counters import open_counters
from ml_assets.settings import Settings, secret

_AGAIN_SECONDS = 5.0
_PARTS = 20

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Taken:
    """Requests that were counted and not made yet, until the window `ends`."""

    left: int
    ends: float


class Rates:
    """The limit of a deployment. While the online store is away, each process counts by itself."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened yet."""
        self._settings = settings
        self._limit = parse(settings.service_rate) if settings.service_rate else None
        self._thread = ThreadPoolExecutor(1, "rates")
        self._stack = ExitStack()
        self._shared: Storage | None = None
        self._here: Storage | None = None
        self._again = 0.0
        self._taken: dict[str, _Taken] = {}
        self._asking = asyncio.Lock()

    async def wait(self, identity: str) -> float | None:
        """Count a request; None, or after how many seconds one more is allowed."""
        if self._limit is None:
            return None
        if self._has_taken(identity):
            return None
        async with self._asking:
            if self._has_taken(identity):  # by whom this one waited for
                return None
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._thread, self._hit, identity)
            if isinstance(answer, float):
                return answer
            self._taken[identity] = answer
        return None

    def close(self) -> None:
        """Let go of the store."""
        self._thread.submit(self._stack.close)
        self._thread.shutdown()

    def _has_taken(self, identity: str) -> bool:
        """Whether one more is let in of those that were counted; asked by the event loop alone."""
        taken = self._taken.get(identity)
        if taken is None or not taken.left or time.time() >= taken.ends:
            return False
        taken.left -= 1
        return True

    def _hit(self, identity: str) -> _Taken | float:
        try:
            if storage := self._opened():
                return self._ask(storage, identity)
        except (StorageError, StoreError, sqlite3.Error) as error:
            log.warning("requests are counted by each process", extra={"reason": str(error)})
            self._again = time.monotonic() + _AGAIN_SECONDS
            self._stack.close()
            self._shared = None
        if self._here is None:
            self._here = MemoryStorage()
        return self._ask(self._here, identity)

    def _ask(self, storage: Storage, identity: str) -> _Taken | float:
        """What may be asked now, the present request left out, or how long to wait."""
        assert self._limit is not None  # noqa: S101 - as `wait` asks
        limiter, several = FixedWindowRateLimiter(storage), max(1, self._limit.amount // _PARTS)
        let_in = limiter.hit(self._limit, identity, cost=several)
        ends = limiter.get_window_stats(self._limit, identity).reset_time
        return _Taken(several - 1, ends) if let_in else max(0.0, ends - time.time())

    def _opened(self) -> Storage | None:
        if self._shared is None and time.monotonic() >= self._again:
            url = secret(self._settings.redis_url)
            self._shared = self._stack.enter_context(open_counters(url, self._settings.home))
        return self._shared
