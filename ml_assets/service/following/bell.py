"""What wakes the thread that follows the releases: PostgreSQL's NOTIFY, or a channel of Redis."""

from __future__ import annotations

import logging
import socket
import threading
from multiprocessing.connection import wait

from ml_assets.errors import StoreError
from ml_assets.releases.pointer import CHANNEL
from ml_assets.stores import postgres, redis

_AGAIN_SECONDS = 5.0

log = logging.getLogger(__name__)


class Bell:
    """One thread waits for it; it rings when something else may be served."""

    def __init__(self) -> None:
        """Nobody rings yet."""
        self._rung, self._rope = socket.socketpair()
        for end in (self._rung, self._rope):
            end.setblocking(False)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def listen(self, redis_url: str) -> None:
        """Ring for what is announced on the channel of a Redis, in a thread, until it is closed."""
        self._thread = threading.Thread(target=self._hear, args=[redis_url], name="channel")
        self._thread.start()

    def ring(self) -> None:
        """Wake who waits, or who will next."""
        try:
            self._rope.send(b"!")
        except BlockingIOError:  # it rings already
            return

    def wait(self, seconds: float, notified: postgres.Connection | None) -> None:
        """Wait at most so long, for the bell or a NOTIFY on a connection that listens."""
        if notified is None or not _heard(notified):
            wait([self._rung, *([] if notified is None else [notified.fileno()])], seconds)
            if notified is not None:
                _heard(notified)
        try:
            self._rung.recv(4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Listen no more; nobody waits any more."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        self._rung.close()
        self._rope.close()

    def _hear(self, url: str) -> None:
        while not self._ended.is_set():
            try:
                redis.listen(url, CHANNEL, self.ring, self._ended.is_set)
            except StoreError as error:
                log.warning("nothing is heard of Redis", extra={"reason": error.reason})
                self._ended.wait(_AGAIN_SECONDS)


def _heard(connection: postgres.Connection) -> bool:
    """Take what was notified so far."""
    return bool(list(connection.notifies(timeout=0)))
