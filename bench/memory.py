"""Peak memory of a tree of processes: proportional set size (PSS), sampled from /proc.

PSS shares the pages that processes have in common among them, so that PostgreSQL's shared buffers
count once. Linux only; elsewhere the peak is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

_PROC = Path("/proc")
_SECONDS = 0.2
"""Between two samples; one takes 1 to 20 ms."""


@dataclass
class Peak:
    """The most that was seen, in bytes."""

    size: int = 0


@contextmanager
def peak_memory(process: int, server: Path) -> Iterator[Peak]:
    """Watch a process, the PostgreSQL whose data is in `server`, and the children of both."""
    peak, stop = Peak(), Event()

    def watch() -> None:
        while not stop.wait(_SECONDS):
            peak.size = max(peak.size, tree_memory({process, *_postmaster(server)}))

    watcher = Thread(target=watch, name="peak memory", daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def tree_memory(roots: Iterable[int]) -> int:
    """PSS in bytes of these processes and all below them, now."""
    return sum(map(_pss, _descendants(set(roots))))


def _postmaster(data: Path) -> list[int]:
    """The process of the server of a data folder, if it runs."""
    with suppress(OSError, ValueError, IndexError):
        return [int((data / "postmaster.pid").read_text().split("\n")[0])]
    return []


def _descendants(roots: set[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process, parent in _processes():
        children.setdefault(parent, []).append(process)
    found, waiting = set(roots), list(roots)
    while waiting:
        below = [child for child in children.get(waiting.pop(), []) if child not in found]
        found.update(below)
        waiting += below
    return found


def _processes() -> Iterator[tuple[int, int]]:
    """Every process with its parent; those that end meanwhile are passed over."""
    for file in _PROC.glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in parentheses, may hold anything.
            fields = file.read_text(errors="replace").rpartition(")")[2].split()
            yield int(file.parent.name), int(fields[1])


def _pss(process: int) -> int:
    with suppress(OSError):
        for line in (_PROC / str(process) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
