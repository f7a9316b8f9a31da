"""Locks on files, which the kernel lets go with the last process that holds them, however it ends.

A lock is held through an open file, and by every process that inherits it. So never unlock one:
close it. They hold between containers that share a folder, where process ids mean nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_assets.errors import StoreError

_PAUSE = 0.005


def try_lock(file: Path, *, shared: bool = False, create: bool = True) -> int | None:
    """Lock a file; None when another process has it locked.

    When it is absent it is made, or without `create` it is None, too.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        if create:  # not even its folder is there
            raise
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise
        return None
    return descriptor


def lock(file: Path, seconds: float, *, shared: bool = False) -> int:
    """Lock a file, waiting for another process for at most `seconds`.

    Raises:
        StoreError: the other process does not let go of it.
    """
    taken: list[int] = []

    def is_taken() -> bool:
        descriptor = try_lock(file, shared=shared)
        if descriptor is not None:
            taken.append(descriptor)
        return bool(taken)

    if not wait_for(is_taken, seconds):
        raise StoreError(
            f"another process has locked it for more than {seconds:g} s",
            where=str(file),
            do="Wait for it, or end it, and run again",
        )
    return taken[0]


def is_locked(file: Path) -> bool:
    """Whether a process holds `file` alone; to look disturbs nobody else who looks."""
    descriptor = try_lock(file, shared=True)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def removed(folder: Path, file: Path) -> bool:
    """Remove a folder with the `file` that locks it; False while another process is at work there.

    Raises:
        StoreError: this one may not.
    """
    if not (folder.exists() or file.exists()):
        return True
    descriptor = None
    try:
        descriptor = try_lock(file)
        if descriptor is None:
            return False
        if folder.exists():
            shutil.rmtree(folder)
        file.unlink()
    except PermissionError as error:
        raise StoreError(
            f"it cannot be removed ({error.strerror})",
            where=str(folder),
            do="Change its permissions, and run again",
        ) from None
    except OSError:  # on NFS, what a reader has open stays as a file
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def remove_others(parent: Path, kept: Collection[str]) -> None:
    """Remove the folders of `parent` of other names, with what locks them; not those in use.

    That of `.name.new` was to take the place of `name`.
    """
    for folder in [each for each in parent.glob("*") if each.is_dir()]:
        name = folder.name.removeprefix(".").removesuffix(".new")
        if name not in kept:
            removed(folder, parent / f".{name}.lock")


@contextmanager
def locked(file: Path, seconds: float) -> Iterator[int]:
    """Hold `file` alone for the length of the block, after a wait of at most `seconds`.

    Yields the descriptor: a program that inherits it holds the lock for as long as it runs.

    Raises:
        StoreError: another process does not let go of it.
    """
    descriptor = lock(file, seconds)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask until `condition` holds, for at most `seconds`; return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
