"""Processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType


def process_exists(pid: int) -> bool:
    """Whether there is a process of this id, of whatever user."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def child_environment(*without: str, **more: str) -> dict[str, str]:
    """The environment of this process, without variables of these prefixes, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    return {**kept, **more}


def run_program(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program at the prompt until it ends; signals are for it. Return its exit code."""
    with subprocess.Popen(words, env=child_environment(**environment)) as process:

        def hand_on(number: int, _: FrameType | None) -> None:
            # The Ctrl-C of a terminal reaches both.
            if not (number == signal.SIGINT and sys.stdin.isatty()):
                process.send_signal(number)

        before = {
            number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            return process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
