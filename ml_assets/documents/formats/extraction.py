"""Extraction in processes of their own, one per core; what came out is kept by content.

A document that ends its process, or never ends, is one bad file, and the others go on.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock, Timer
from types import TracebackType
from typing import Any, TypeVar

from ml_assets.documents.formats import extracted
from ml_assets.documents.model import Page, headings_of
from ml_assets.stores.folders import folder as own_folder

T = TypeVar("T")
R = TypeVar("R")

MOST_SECONDS = 300
"""Seconds of a processor that a document may take: however busy the machine is, the same."""

MOST_BYTES = 3 << 30
"""Bytes of memory that a document may take."""

MOST_WAIT = 1_800
"""Seconds until a process is given up that may hang."""

_WORKER = "from ml_assets.documents.formats.extraction import answer; answer({}, {})"


class Extraction:
    """Threads that each have a process; in the `folder` lies one file per content, if it is given.

    After a pass over all documents `forget_others` drops what none of them has.
    """

    def __init__(self, folder: Path | None = None, largest: int = extracted.MAX_BYTES) -> None:
        """Start nothing yet; of a text of more than `largest` characters nothing is kept."""
        self._folder, self._largest = folder, largest
        self._cores = len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(self._cores)
        self._idle: list[subprocess.Popen[bytes]] = []
        self._named: set[str] = set()
        self._lock = Lock()

    def __enter__(self) -> Extraction:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(cancel_futures=True)
        for process in self._idle:
            _end(process)

    def ahead(
        self, items: Iterable[T], work: Callable[[T], R], wanted: Callable[[T], bool]
    ) -> Iterator[tuple[T, Future[R] | None]]:
        """Yield each item in order with the work on it if it is wanted, begun some items ahead."""
        begun: deque[tuple[T, Future[R] | None]] = deque()
        for item in items:
            future = self._threads.submit(work, item) if wanted(item) else None
            begun.append((item, future))
            if len(begun) > 2 * self._cores:
                yield begun.popleft()
        yield from begun

    def extract(self, content: bytes, suffix: str) -> Page | str:
        """Return what `extracted.extract` does, from the folder where it was extracted before."""
        version = extracted.extractor(suffix)
        if not version:
            return extracted.extract(content, suffix)
        identity = hashlib.sha256(f"{suffix} {version} ".encode() + content).hexdigest()
        with self._lock:
            self._named.add(identity)
        if (kept := self._kept(identity)) is not None:
            return kept
        found = self._ask(content, suffix)
        if isinstance(found, Page) and len(found.text) <= self._largest:
            self._keep(identity, found)
        return found

    def forget_others(self) -> None:
        """Drop what was extracted of contents that nobody asked for."""
        if self._folder is not None and self._folder.is_dir():
            for file in self._folder.iterdir():
                if file.name not in self._named:
                    file.unlink(missing_ok=True)

    def _kept(self, identity: str) -> Page | None:
        if self._folder is None:
            return None
        with suppress(OSError, ValueError, TypeError):
            return _page(*json.loads((self._folder / identity).read_bytes()))
        return None

    def _keep(self, identity: str, found: Page) -> None:
        if self._folder is None:
            return
        partial = own_folder(self._folder) / f"{identity}.{os.getpid()}"
        partial.write_bytes(json.dumps(found).encode())
        partial.replace(self._folder / identity)

    def _ask(self, content: bytes, suffix: str) -> Page | str:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        process = process or _start()
        clock = Timer(MOST_WAIT, process.kill)
        clock.start()
        try:
            said = _exchange(process, content, suffix)
        except BaseException:
            _end(process)
            raise
        finally:
            clock.cancel()
        if said is None:
            _end(process)
            return (
                f"not readable as {suffix} (the process that extracted it ended: a file may take"
                f" {MOST_SECONDS} s of a processor, and {MOST_BYTES >> 20:,} MiB)"
            )
        with self._lock:
            self._idle.append(process)
        return _page(*said) if isinstance(said, list) else str(said)


def answer(most_seconds: int, most_bytes: int) -> None:
    """Extract what is asked for at the standard input, until it ends.

    The system ends this process where a document takes more.
    """
    asked, told = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _limit(resource.RLIMIT_DATA, most_bytes)
    while line := asked.readline():
        suffix, size = json.loads(line)
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + most_seconds)
        found = extracted.extract(asked.read(size), suffix)
        told.write(json.dumps(found).encode() + b"\n")
        told.flush()


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _page(title: str, text: str, headings: list[Any]) -> Page:
    """What was written as JSON."""
    return Page(title, text, headings_of(headings))


def _start() -> subprocess.Popen[bytes]:
    # -P: what lies in the current folder is not imported.
    command = [sys.executable, "-P", "-c", _WORKER.format(MOST_SECONDS, MOST_BYTES)]
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=none)


def _exchange(process: subprocess.Popen[bytes], content: bytes, suffix: str) -> Any:
    """Ask a process; None: it ended."""
    asked, told = process.stdin, process.stdout
    if asked and told:
        with suppress(BrokenPipeError):
            asked.write(json.dumps([suffix, len(content)]).encode() + b"\n" + content)
            asked.flush()
            if line := told.readline():
                return json.loads(line)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    process.wait()
