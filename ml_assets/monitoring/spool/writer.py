"""The writer of a spool: a queue that nobody waits for, and a thread that empties it into segments.

What cannot be kept is dropped and counted: the queue is full, the spool has all the bytes that it
may have, or the disk fails. Each record has a sequence, the dropped ones too, so that what is
missing can be seen later.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ml_assets.errors import StoreError, first_line
from ml_assets.monitoring.spool.segments import (
    Record,
    Segment,
    create,
    encode,
    obstacle,
    size,
    write_all,
)

Sync = Literal["always", "interval", "never"]
"""When the disk is waited for: after each batch, once a second, or when the system likes."""

Reason = Literal["queue", "space", "disk"]

SEGMENT_BYTES = 4 << 20
SEGMENT_SECONDS = 30.0
"""After these a segment is closed, so that it can be loaded."""

WAITING_BYTES = 32 << 20
"""Of records that wait to be written."""

_TOGETHER = 1_000
_LOOK_SECONDS = 1.0
_TRY_SECONDS = 10.0


@dataclass(slots=True)
class _Batch:
    """Records that came together, on one day; `kept` is done when they are on the disk."""

    at: datetime
    first: int
    lines: Sequence[bytes]
    kept: Future[None] = field(default_factory=Future)

    @property
    def size(self) -> int:
        """Bytes of its lines."""
        return sum(map(len, self.lines))


class SpoolWriter:
    """Appends the records of one process; closed at its end. Any thread may put."""

    def __init__(
        self,
        place: Path,
        writer: str,
        most: int,
        sync: Sync,
        dropped: Callable[[Reason, int], None] = lambda reason, count: None,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        waiting: int = WAITING_BYTES,
    ) -> None:
        """Write into the folder `place`, which has at most `most` bytes, of all its writers.

        `writer` is 32 hexadecimal digits that no other process has. `dropped` is told of what is
        lost, and why: what waits has at most `waiting` bytes.
        """
        self._place, self._writer, self._most, self._sync = place, writer, most, sync
        self._tell = dropped
        self._segment_bytes, self._segment_seconds = segment_bytes, segment_seconds
        self.dropped: Counter[Reason] = Counter()
        self.obstacle = ""
        """Why the next record would be lost, as was seen lately; empty: it would be kept."""
        self._lock = threading.Lock()
        self._sequence = 0
        self._most_waiting, self._waiting = waiting, 0
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._open: _Open | None = None
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._thread.start()

    def put(self, records: Sequence[Record]) -> Future[None]:
        """Have records written, which JSON must take; the future is done when they are.

        It fails with a StoreError where they were dropped. Who need not know does not look at it.
        """
        with self._lock:
            first = self._sequence + 1
            lines = [encode({"sequence": first + n, **record}) for n, record in enumerate(records)]
            self._sequence += len(records)
            batch = _Batch(datetime.now(UTC), first, lines)
            # Who waits for it may go: it is written all the same.
            batch.kept.set_running_or_notify_cancel()
            if self._waiting + batch.size > self._most_waiting:
                self._drop([batch], "queue", "too many records wait to be written")
            else:
                self._waiting += batch.size
                self._queue.put(batch)
        return batch.kept

    def close(self) -> None:
        """Write what waits, and close the segment."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        ended, tried = False, float("-inf")
        while not ended:
            if time.monotonic() >= tried + _TRY_SECONDS:
                self.obstacle, tried = obstacle(self._place, self._most), time.monotonic()
            batches, ended = self._waiting_batches()
            try:
                self._write(batches)
                if ended:
                    self._close_segment()
            except (OSError, StoreError) as error:
                # Of what was written, but not waited for, nobody knows.
                left = [batch for batch in batches if not batch.kept.done()]
                self._drop(left, "disk", first_line(error))
                with suppress(OSError):
                    self._close_segment()  # its last line may be torn
            with self._lock:
                self._waiting -= sum(batch.size for batch in batches)

    def _waiting_batches(self) -> tuple[list[_Batch], bool]:
        """What waits, after at most a second; and whether it is the last."""
        batches: list[_Batch] = []
        try:
            batch = self._queue.get(timeout=_LOOK_SECONDS)
            while batch and len(batches) < _TOGETHER:
                batches.append(batch)
                batch = self._queue.get_nowait()
        except queue.Empty:
            return batches, False
        if batch is None:
            return batches, True
        return [*batches, batch], False

    def _write(self, batches: Sequence[_Batch]) -> None:
        stored = size(self._place) if batches else 0
        written = []
        for batch in batches:
            if stored + batch.size > self._most:
                self._drop([batch], "space", f"the spool has its {self._most:,} bytes")
                continue
            stored += batch.size
            self._open_for(batch).append(batch.lines)
            written.append(batch)
        if opened := self._open:
            opened.flush(self._sync)
            age = time.monotonic() - opened.since
            if os.fstat(opened.descriptor).st_size >= self._segment_bytes or (
                age >= self._segment_seconds
            ):
                self._close_segment()
        for batch in written:
            batch.kept.set_result(None)

    def _open_for(self, batch: _Batch) -> _Open:
        day = batch.at.date()
        if self._open and self._open.segment.day != day:
            self._close_segment()
        if self._open is None:
            self._open = _Open(*create(self._place, day, self._writer, batch.first))
        return self._open

    def _close_segment(self) -> None:
        opened, self._open = self._open, None
        if opened:
            try:
                opened.flush(self._sync, last=True)
            finally:
                os.close(opened.descriptor)

    def _drop(self, batches: Sequence[_Batch], reason: Reason, why: str) -> None:
        count = sum(len(batch.lines) for batch in batches)
        self.dropped[reason] += count
        self._tell(reason, count)
        for batch in batches:
            batch.kept.set_exception(
                StoreError(why, where=str(self._place), do="Try again when runs have loaded it")
            )


@dataclass(slots=True)
class _Open:
    """The segment that is written."""

    segment: Segment
    descriptor: int
    since: float = field(default_factory=time.monotonic)
    synced: float = 0.0
    dirty: bool = False

    def append(self, lines: Sequence[bytes]) -> None:
        write_all(self.descriptor, lines)
        self.dirty = True

    def flush(self, sync: Sync, *, last: bool = False) -> None:
        """Wait for the disk, where the policy says so now."""
        now = time.monotonic()
        due = sync == "always" or (sync == "interval" and (last or now >= self.synced + 1))
        if self.dirty and due:
            os.fsync(self.descriptor)
            self.synced, self.dirty = now, False
