"""PostgreSQL over TCP in every version that can be had here, with the role of the application.

The wheel of the embedded server has 18 and 16; a later Debian has 17, in a folder of its own. Root
runs them as `nobody`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_assets.stores.postgres.programs import binaries
from ml_assets_tests.paths import PROJECT
from ml_assets_tests.servers.starting import AbsentError, find_program

INIT_SCRIPT = PROJECT / "docker" / "postgres-init" / "10-databases.sh"
DEBIAN = Path("/opt/ml_assets-trixie")
"""A later Debian with PostgreSQL 17 and pgvector; made once, 700 MB, and kept."""

HERE = "/proc/self/cwd"
"""The folder that a process was started in, even if it may not enter the folders above."""

_NOBODY = 65534


@dataclass(frozen=True)
class Postgres:
    """The programs of one version; in a Debian of its own, seen from the root of that."""

    programs: Path
    root: Path | None = None

    def run(self, program: str, data: Path, *options: str) -> tuple[list[str], dict[str, Any]]:
        """Command and account of a program on a data folder, which stands for `DATA` in options."""
        if self.root:
            place = f"/{data.relative_to(self.root)}"
            enter = ["chroot", f"--userspec={_NOBODY}:{_NOBODY}", str(self.root)]
            account: dict[str, Any] = {}
        else:
            place, enter, account = HERE, [], not_root()
        words = [place if option == "DATA" else option for option in options]
        command = [str(self.programs / program), *words]
        return [*enter, *command] if _is_root() else command, account


def find_postgres(version: str) -> Postgres:
    """The programs of a version; a later Debian is installed for 17.

    Raises:
        AbsentError: it cannot be had here.
    """
    wheel = binaries().parents[1]
    match version:
        case "18":
            return Postgres(binaries())
        case "16":
            return Postgres(wheel / "pginstall" / "bin")
        case "17":
            _install_debian()
            return Postgres(Path("/usr/lib/postgresql/17/bin"), DEBIAN)
    raise AbsentError(f"no package here has PostgreSQL {version} with pgvector 0.8")


def initialize(postgres: Postgres, data: Path, password: str) -> None:
    """Make a data folder whose superuser connects over TCP, with that password."""
    make_folder(data)
    options = ("-U", "postgres", "-A", "trust", "--locale=C", "-E", "utf8", "-N")
    _finish(data, *postgres.run("initdb", data, "-D", "DATA", *options))
    alter = f"alter role postgres password '{password}'\n"
    _finish(data, *postgres.run("postgres", data, "--single", "-D", "DATA", "postgres"), text=alter)
    lines = (f"host {what} all 127.0.0.1/32 scram-sha-256\n" for what in ("all", "replication"))
    (data / "pg_hba.conf").write_text("".join(lines))


def copy(postgres: Postgres, data: Path, primary: str) -> None:
    """Make the data folder of a replica that follows the server of a superuser's URL."""
    make_folder(data)
    options = ("-D", "DATA", "-d", primary, "--write-recovery-conf", "--checkpoint=fast")
    _finish(data, *postgres.run("pg_basebackup", data, *options))


def serve_command(postgres: Postgres, data: Path, port: int) -> tuple[list[str], dict[str, Any]]:
    """Command and account of the server of a data folder, on a port of this machine."""
    options = ["-D", "DATA", "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    if postgres.root:  # it has no /dev/shm
        options += ["-c", "dynamic_shared_memory_type=mmap"]
    return postgres.run("postgres", data, *options)


def make_role(port: int, password: str, application_password: str) -> None:
    """Run the script of the server mode: the role of the application, and its databases."""
    environment = {
        **os.environ,
        "PATH": f"{binaries()}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGPASSWORD": password,
        "ML_ASSETS_DB_PASSWORD": application_password,
    }
    subprocess.run([INIT_SCRIPT], env=environment, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def data_folder(postgres: Postgres, folder: Path) -> Iterator[Path]:
    """A place for data that the server can reach: in `folder`, or in the Debian of the server."""
    if not postgres.root:
        yield folder / "cluster"
        return
    inside = Path(tempfile.mkdtemp(prefix="ml_assets-", dir=postgres.root / "srv"))
    inside.chmod(0o755)
    try:
        yield inside / "cluster"
    finally:
        shutil.rmtree(inside)


def _install_debian() -> None:
    if (DEBIAN / "usr/lib/postgresql/17/bin/postgres").exists():
        return
    if not _is_root():
        raise AbsentError("only root can install a later Debian (debootstrap), which has it")
    if not find_program("debootstrap"):
        install_package("debootstrap")
    print("installing Debian trixie with PostgreSQL 17 and pgvector: 30 s", flush=True)
    packages = "--include=postgresql-17,postgresql-17-pgvector"
    new = DEBIAN.with_name(f"{DEBIAN.name}.{os.getpid()}")
    command = ["debootstrap", "--variant=minbase", packages, "trixie", str(new)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AbsentError(f"debootstrap trixie: {done.stdout.strip()[-200:]}")
        new.rename(DEBIAN)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def install_package(name: str) -> None:
    """Install a package of Debian.

    Raises:
        AbsentError: this is no root, no Debian, or it has no such package.
    """
    if not _is_root() or not find_program("apt-get"):
        raise AbsentError(f"no program `{name}`; only root on Debian can install it (apt-get)")
    print(f"installing Debian's {name}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", name]):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AbsentError(f"apt-get install {name}: {done.stderr.strip()[-200:]}")


def not_root() -> dict[str, Any]:
    """The account, for `subprocess`, of a server that refuses to run as root."""
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if _is_root() else {}


def make_folder(data: Path) -> None:
    """Make a folder of the account that runs the servers."""
    data.mkdir(parents=True, mode=0o700)
    if _is_root():
        os.chown(data, _NOBODY, _NOBODY)


def _is_root() -> bool:
    return os.geteuid() == 0


def _finish(data: Path, command: list[str], account: dict[str, Any], text: str = "") -> None:
    done = subprocess.run(
        command,
        **account,
        cwd=data,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AbsentError(f"{Path(command[-1]).name}: {(done.stdout + done.stderr).strip()[-300:]}")
