"""Homes with an embedded server, and processes that use them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ml_assets.stores import postgres
from ml_assets.stores.file_locks import is_locked

USE = """
import itertools, sys
from pathlib import Path
from ml_assets.stores import postgres
home = Path(sys.argv[1])
for line in itertools.chain([""], sys.stdin):
    with postgres.connect(None, home) as connection:
        rows = connection.execute("select count(*) from documents").fetchall()
    print(rows, flush=True)
"""


ANSWER = "[(0,)]\n"


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def copy(home: Path, target: Path) -> Path:
    """A copy with owners and times, sockets left out, as `rsync -a` makes it."""
    subprocess.run(["cp", "-a", home, target], check=True)
    return target


def is_running(home: Path) -> bool:
    return is_locked(home / "postgres.server")


def postmaster(home: Path) -> int:
    return int((home / "postgres.server").read_text())


def kill_server(home: Path) -> None:
    os.kill(postmaster(home), signal.SIGKILL)


class User:
    """Another process that uses a home; `again` asks it to connect once more."""

    def __init__(self, home: Path, **options: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USE, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def again(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> str:
        return self.process.communicate(timeout=60)[1]


def count(home: Path) -> int:
    with postgres.connect(None, home) as connection:
        ((documents,),) = connection.execute("select count(*) from documents").fetchall()
    return int(documents)
