"""An online store that stays open between reads: for who answers many questions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from ml_assets.stores.online.contract import OnlineStore


class Kept:
    """Opened by the first question, and anew after an error, or where its file was replaced.

    For one thread at a time.
    """

    def __init__(
        self, connect: Callable[[], AbstractContextManager[OnlineStore]], file: Path | None
    ) -> None:
        """`file` is where an embedded store lies; None: on a server."""
        self._connect, self._file = connect, file
        self._stack = ExitStack()
        self._store: OnlineStore | None = None
        self._opened: tuple[int, int] | None = None

    @contextmanager
    def reading(self) -> Iterator[OnlineStore]:
        """The store, for the block.

        Raises:
            StoreError: it cannot be used.
        """
        if self._store is None or self._opened != self._identity():
            self.close()
            self._store = self._stack.enter_context(self._connect())
            self._opened = self._identity()
        with ExitStack() as failed:
            # A store turns its own errors into lines for people, so it has to see them.
            failed.push(self._give_up)
            yield self._store
            failed.pop_all()

    def close(self) -> None:
        """Close it; the next question opens it again."""
        stack, self._stack, self._store = self._stack, ExitStack(), None
        stack.close()

    def _give_up(self, *error: object) -> bool | None:
        stack, self._stack, self._store = self._stack, ExitStack(), None
        return stack.__exit__(*error)  # type: ignore[arg-type]

    def _identity(self) -> tuple[int, int] | None:
        """What tells the file from another of its name; None: there is none."""
        try:
            found = os.stat(self._file) if self._file else None  # noqa: PTH116
        except FileNotFoundError:
            return None
        return (found.st_dev, found.st_ino) if found else None
