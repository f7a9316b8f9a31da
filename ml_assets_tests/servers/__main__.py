"""Start the server mode without Docker, drive it, and kill parts of it: `make test-servers`.

One line for each server and each thing tried: passed, failed, or absent and why. Names choose:
`make test-servers ONLY=drive`, `ONLY=chroma:indexes:5`, `ONLY='*:*:5'`. Logs lie in one folder,
which is kept when something failed.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from ml_assets_tests.integration.project import write_documents
from ml_assets_tests.servers.matrix import CELLS, DRIVES, ON_THE_STACK, alone, attempt, whole_stack
from ml_assets_tests.servers.running import POSTGRES
from ml_assets_tests.servers.starting import kill

PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Do what was chosen; return 1 if any of it failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("only", nargs="*", default=DRIVES)
    parser.add_argument("--postgres", default=POSTGRES, help="the version below the whole stack")
    arguments = parser.parse_args()
    only, version = arguments.only, arguments.postgres
    chosen = [name for name in (*CELLS, *DRIVES) if any(fnmatch(name, each) for each in only)]
    if not chosen:
        print(f"nothing is named {' '.join(only)}; there are {', '.join(DRIVES)} and {CELLS[0]}")
        return 2
    failed: list[str] = []

    def report(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
        failed.extend([line] if line.startswith("failed") else [])

    with folder_and_processes(failed) as root:
        on_the_stack = [name for name in chosen if name in ON_THE_STACK]
        if on_the_stack:
            file = root / "notes.jsonl"
            write_documents(file, per_topic=30)
            whole_stack(root / "stack", version, file, on_the_stack, report)
        for name in chosen:
            if name not in ON_THE_STACK:
                attempt(name, partial(alone, name, root / name, version), report)
        if failed:
            print(f"the logs lie in {root}")
    return bool(failed)


@contextmanager
def folder_and_processes(failed: list[str]) -> Iterator[Path]:
    """A folder for all that is written; whatever was started, even by what died, ends with it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans become our children
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    root = Path(tempfile.mkdtemp(prefix="ml_assets-servers-"))
    root.chmod(0o755)
    try:
        yield root
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the end is near, and in order
        for child in psutil.Process().children():
            kill(child.pid)
        if not failed:
            shutil.rmtree(root, ignore_errors=True)


def interrupt(*_: Any) -> None:
    """The first one ends the work; another must not end the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
