"""Processes of this machine."""

from __future__ import annotations

import os


def process_exists(pid: int) -> bool:
    """Whether there is a process of this id, of whatever user."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True
