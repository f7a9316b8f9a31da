"""The server that a wheel brings: one per home, shared by its processes, on a Unix socket.

Three empty files beside the data folder are its bookkeeping, and the kernel keeps it: who holds
their locks. `postgres.lock` is held while a server is started or stopped; `postgres.users` by
every process that uses it, and the last one stops it; `postgres.server` by the server itself.
So no process id is believed: that of a killed server may be a zombie, or another program by now,
and in a copy of a home it is that of the original's server.

The socket lies in the data folder, where only the owner of the server can enter, and the server
asks the kernel who connects: no password, and no one else.
"""

from __future__ import annotations

import atexit
import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from ml_assets.errors import StoreError
from ml_assets.stores.file_locks import is_locked, lock, locked, try_lock, wait_for
from ml_assets.stores.folders import private_home
from ml_assets.stores.postgres.memory import available_memory, memory_settings
from ml_assets.stores.postgres.programs import binaries_for
from ml_assets.stores.processes import child_environment

PATIENCE = 120.0
"""Seconds to wait for a server that starts, or recovers from a crash."""

_PARTING = 30.0
"""Seconds to wait at the end for a server that stops: it goes on without us."""

_ROLE = "postgres"
_PORT = 5432
_SYSTEM_ACCOUNT = "pgserver"
_HERE = "/proc/self/cwd"
"""The folder that a process was started in, even if it may not enter the folders above."""

_OPTIONS = (
    *("-h", "", "-k", ".", "-p", str(_PORT)),
    # A home may come from a machine with other locales.
    *(
        part
        for name in ("messages", "monetary", "numeric", "time")
        for part in ("-c", f"lc_{name}=C")
    ),
)
_MOST_LOG = 1 << 20
_REASONS = [
    re.compile(pattern) for pattern in (r"(?:FATAL|PANIC):\s+(.+)", r"(?:error|sh):\s+(.+)")
]
_PLAIN = re.compile(r"[A-Za-z0-9_./-]{1,90}")


@dataclass(frozen=True)
class _Use:
    """What a process holds open while it uses a server: its lock, and the folder of the socket."""

    users: int
    folder: int


_uses: dict[Path, _Use] = {}
_threads = RLock()


def start(data: Path) -> str:
    """Start the server of a data folder, unless it runs; return its URL.

    The URL is good for as long as this process uses the server: until it ends, or calls `stop`.

    Raises:
        StoreError: it does not start; the reason is the server's own.
    """
    try:
        with _threads:
            if data not in _uses or not is_locked(_server(data)):
                private_home(data.parent)
                with locked(_beside(data, "lock"), PATIENCE) as starting:
                    if is_locked(_server(data)) and not _server(data).read_text():
                        _await(data)  # who started it was killed before it was ready
                    if not is_locked(_server(data)):
                        _launch(data, starting)
                    _use(data)
            return _url(data)
    except OSError as error:
        raise _refusal(data, f"{error.filename}: {error.strerror}") from None


def stop(data: Path) -> None:
    """End this process's use of the server, and stop it, unless another process uses it."""
    with _threads:
        if use := _uses.pop(data, None):
            os.close(use.folder)
            os.close(use.users)
        if not data.exists():
            return  # the home was removed; its server ends when it misses its files
        # Who cannot have this lock is not the last: another process starts the server, or stops it.
        with suppress(StoreError), locked(_beside(data, "lock"), _PARTING):
            last = try_lock(_beside(data, "users"))
            if last is not None:
                _interrupt(data)
                os.close(last)


def as_account(data: Path) -> dict[str, Any]:
    """How `subprocess` runs a program in a data folder: root does it as the folder's owner."""
    owner = data.stat()
    # No settings of other clients and servers, and no locale.
    environment = child_environment("PG", "LC_", LC_ALL="C")
    here: dict[str, Any] = {"cwd": data, "env": environment, "stdin": subprocess.DEVNULL}
    if os.geteuid() == 0:
        here |= {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    return here


def _use(data: Path) -> None:
    if not _uses:
        atexit.register(_stop_all)
    if data in _uses:  # of a home that was removed since, and made again
        stale = _uses.pop(data)
        os.close(stale.users)
        os.close(stale.folder)
    users = lock(_beside(data, "users"), _PARTING, shared=True)
    _uses[data] = _Use(users, os.open(data, os.O_RDONLY | os.O_DIRECTORY))


def _stop_all() -> None:
    # The second Ctrl-C must not leave a server behind.
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    for data in list(_uses):
        stop(data)


def _url(data: Path) -> str:
    """The URL of the socket; a long path, or one with characters of its own, by its open folder."""
    host = str(data)
    if not _PLAIN.fullmatch(host):
        host = f"/proc/{os.getpid()}/fd/{_uses[data].folder}"
    return f"postgresql://{_ROLE}@/{_ROLE}?host={host}&port={_PORT}"


def _launch(data: Path, starting: int) -> None:
    """Start the server, with its lock handed to it, and wait until it takes connections."""
    if not data.exists() or not any(data.iterdir()):
        _create(data, starting)
    _refuse_another_server(data)
    _own(data)
    for stale in ("postmaster.pid", f".s.PGSQL.{_PORT}.lock", ".handle_pids.json"):
        (data / stale).unlink(missing_ok=True)
    _let_in(data)
    log = _beside(data, "log")
    before = log.stat().st_size if log.exists() else 0
    server_lock = lock(
        _server(data), _PARTING
    )  # who looks whether it is locked, locks it for a moment
    os.truncate(server_lock, 0)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if before > _MOST_LOG:
            os.truncate(descriptor, 0)
            before = 0
        # The shell ends at once: a server that dies under a long-lived process is no zombie of its.
        subprocess.run(
            [
                "/bin/sh",
                "-c",
                '"$@" &',
                "sh",
                binaries_for(*_account(data.parent)) / "postgres",
                "-D",
                _here(data),
                *_OPTIONS,
                *_memory_options(),
            ],
            **as_account(data),
            stdout=descriptor,
            stderr=descriptor,
            pass_fds=[server_lock],
            start_new_session=True,
            check=True,
        )
    finally:
        os.close(descriptor)
        os.close(server_lock)
    if not _await(data):
        text = log.read_bytes()[before:].decode(errors="replace")
        raise _refusal(data, _reason(text) or f"not ready after {PATIENCE:g} s")


def _await(data: Path) -> bool:
    """Wait until the server takes connections, and note its process id; False when it does not."""
    wait_for(lambda: _is_ready(data) or not is_locked(_server(data)), PATIENCE)
    if ready := _is_ready(data):
        _server(data).write_text(_postmaster_lines(data)[0])
    return ready


def _memory_options() -> Iterator[str]:
    for name, value in memory_settings(available_memory()).items():
        yield from ("-c", f"{name}={value}")


def _create(data: Path, starting: int) -> None:
    """Make a data folder: under another name first, so that a killed process leaves no half one.

    `initdb` may outlive that process: it holds the lock of a start too, and the next one waits.
    """
    new = _new(data)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    try:
        _own(new)
        initdb = binaries_for(*_account(data.parent)) / "initdb"
        # The locale is PostgreSQL's own, so that texts sort alike on every machine.
        done = subprocess.run(
            [
                *(initdb, "-D", _here(new), "-U", _ROLE, "-E", "utf8", "-A", "peer"),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
            **as_account(new),
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=[starting],
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            raise _refusal(data, _reason(done.stdout + done.stderr) or "initdb failed")
        if data.exists():
            data.rmdir()
        new.rename(data)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _own(data: Path) -> None:
    """Let the account that runs the server own its data, alone; another may have copied it."""
    data.chmod(0o700)
    uid, gid = _account(data.parent)
    if data.stat().st_uid != uid:
        for parent, _, files in os.walk(data.resolve()):
            for path in (parent, *(f"{parent}/{file}" for file in files)):
                os.chown(path, uid, gid, follow_symlinks=False)


def _account(home: Path) -> tuple[int, int]:
    """User and group that run the server: we, but for root, as whom PostgreSQL refuses to run.

    Root does it as the owner of the home, and in a home of its own as `pgserver`.
    """
    if os.geteuid():
        return os.geteuid(), os.getegid()
    owner = home.stat()
    if owner.st_uid:
        return owner.st_uid, owner.st_gid
    account = _system_account()
    return account.pw_uid, account.pw_gid


def _system_account() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_ACCOUNT)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", _SYSTEM_ACCOUNT]
    # The PATH of a cron job, or without a login, has no folder of programs that are root's.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    if done.returncode:
        raise StoreError(
            f"root runs PostgreSQL as the account {_SYSTEM_ACCOUNT}, which cannot be created"
            f" ({done.stderr.strip()})",
            where="useradd",
            do="Create it, or run ml_assets as another user than root",
        )
    return pwd.getpwnam(_SYSTEM_ACCOUNT)


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise StoreError(
            f"the user id {uid} has no name on this machine, and PostgreSQL needs one",
            where="/etc/passwd",
            do="Give it one, or set POSTGRES_URL to a server",
        ) from None


def _let_in(data: Path) -> None:
    """Let the owner in, and root; nobody else, whatever an older version wrote there."""
    names = {_account_name(uid) for uid in (data.stat().st_uid, 0)}
    _write_as_owner(data / "pg_hba.conf", "local all all peer map=ml_assets\n")
    lines = (f'ml_assets "{name}" {_ROLE}\n' for name in sorted(names))
    _write_as_owner(data / "pg_ident.conf", "".join(lines))


def _write_as_owner(file: Path, text: str) -> None:
    owner = file.parent.stat()
    file.unlink(missing_ok=True)
    file.write_text(text)
    file.chmod(0o600)
    os.chown(file, owner.st_uid, owner.st_gid)


def _refuse_another_server(data: Path) -> None:
    """An older version holds no lock: its server is told by the folder that it works in."""
    lines = _postmaster_lines(data)
    if lines and _works_in(lines[0], data):
        raise StoreError(
            f"a server that this version did not start runs here (PID {lines[0]})",
            where=str(data),
            do=f"End the processes of the older version, or `kill -INT {lines[0]}`, and run again",
        )


def _interrupt(data: Path) -> None:
    if not is_locked(_server(data)):
        return
    pid = _server(data).read_text()
    # In another container it is the process of somebody else.
    if pid.isdecimal() and _works_in(pid, data):
        os.kill(int(pid), signal.SIGINT)
        wait_for(lambda: not is_locked(_server(data)), _PARTING)


def _works_in(pid: str, data: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except OSError:
        return False


def _is_ready(data: Path) -> bool:
    lines = _postmaster_lines(data)
    return bool(lines) and lines[-1].strip() == "ready"


def _postmaster_lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _here(data: Path) -> str:
    return _HERE if Path(_HERE).exists() else str(data)


def _new(data: Path) -> Path:
    return _beside(data, "new")


def _server(data: Path) -> Path:
    return _beside(data, "server")


def _beside(data: Path, name: str) -> Path:
    return data.with_name(f"{data.name}.{name}")


def _reason(text: str) -> str:
    """What a program wrote last of why it ended."""
    for pattern in _REASONS:
        if reasons := pattern.findall(text):
            return str(reasons[-1]).strip().rstrip(".")
    return text.strip().rpartition("\n")[2].rstrip(".")


def _refusal(data: Path, reason: str) -> StoreError:
    do = f"See {_beside(data, 'log')}, or set POSTGRES_URL to a server"
    if "No space left" in reason:
        do = "Free space on the disk, and run again"
    return StoreError(f"the embedded PostgreSQL does not start ({reason})", where=str(data), do=do)
