"""Servers of the tests' own, on free ports, for the server mode of the stores."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
import pytest

from ml_assets.stores.postgres import server_url
from ml_assets_tests.servers.postgres import (
    HERE,
    copy,
    data_folder,
    find_postgres,
    initialize,
    make_folder,
    make_role,
    not_root,
    serve_command,
)
from ml_assets_tests.servers.stack import ML_ASSETS, PORTS, STACK, environment, places_here, put
from ml_assets_tests.servers.starting import (
    PASSWORD,
    AbsentError,
    end,
    find_program,
    free_port,
    launch,
    listens,
    wait_until,
)

__all__ = ["PASSWORD", "free_port"]

EXPECTED = frozenset(
    {
        *("redis-server", "memcached", "pgbouncer", "mariadbd", "chromium"),
        *("prometheus", "promtool", "prometheus-alertmanager", "amtool"),
        *("chroma", "mlflow", "moto_server"),
    }
)
"""What CI has: two lines from Debian (`.ci/run`), the others, and PostgreSQL, from wheels."""

OLDEST_POSTGRES = "16"
"""The oldest that a wheel has. A home of a test has the newest, embedded: so both are tested."""


def program(name: str) -> str:
    """The path of a server's program, else skip; CI fails where one that it expects is missing."""
    path = find_program(name)
    if path:
        return path
    if os.environ.get("CI") and name in EXPECTED:
        pytest.fail(f"no program `{name}`, which CI should have: see .ci/run")
    pytest.skip(f"no program `{name}` on PATH: server mode is tested where there is one")


@contextmanager
def postgres_over_tcp(folder: Path, version: str = "18") -> Iterator[str]:
    """The URL of a PostgreSQL that asks for a password, as its superuser."""
    try:
        postgres = find_postgres(version)
    except AbsentError as error:
        pytest.skip(str(error))
    with data_folder(postgres, folder) as data:
        initialize(postgres, data, PASSWORD)
        port = free_port()
        command, account = serve_command(postgres, data, port)
        # No role but a superuser may drop a database while the server itself is at work in it.
        settings = ("-c", "fsync=off", "-c", "autovacuum=off")
        with serving([*command, *settings], data, port, account=account):
            url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
            yield server_url(url, folder, "postgres")  # waits while the server starts


@contextmanager
def application_server(folder: Path, version: str) -> Iterator[tuple[str, str]]:
    """The URLs of a server as its superuser and as the role of the server mode.

    That role may create databases here, and those have pgvector.
    """
    with postgres_over_tcp(folder, version) as admin:
        server = urlsplit(admin)
        make_role(server.port or 0, PASSWORD, PASSWORD)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("alter role ml_assets createdb")
        template = urlunsplit(server._replace(path="/template1"))
        with psycopg.connect(template, autocommit=True) as connection:
            connection.execute("create extension vector")
        yield admin, f"postgresql://ml_assets:{PASSWORD}@127.0.0.1:{server.port}/ml_assets"


@contextmanager
def replica(folder: Path, primary: str, version: str = "18") -> Iterator[str]:
    """The URL of a copy of the whole server of `primary`, which follows it and takes no writes."""
    postgres, port = find_postgres(version), free_port()
    with data_folder(postgres, folder) as data:
        copy(postgres, data, primary)
        command, account = serve_command(postgres, data, port)
        with serving([*command, "-c", "fsync=off"], data, port, account=account):
            url = urlsplit(primary)
            copied = urlunsplit(url._replace(netloc=f"postgres:{PASSWORD}@127.0.0.1:{port}"))
            yield server_url(copied, folder, url.path[1:])  # waits while the server starts


@contextmanager
def pgbouncer(folder: Path, url: str, mode: str) -> Iterator[str]:
    """The URL of a pooler before the server of `url`; as is usual it ignores `options`."""
    port, server = free_port(), urlsplit(url)
    folder /= "pgbouncer"
    make_folder(folder)
    (folder / "users.txt").write_text(f'"{server.username}" "{unquote(server.password or "")}"')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = plain\nauth_file = {HERE}/users.txt\npool_mode = {mode}\n"
        "ignore_startup_parameters = options, extra_float_digits\n"
    )
    with serving([program("pgbouncer"), f"{HERE}/pgbouncer.ini"], folder, port, account=not_root()):
        place = server.netloc.replace(f":{server.port}", f":{port}")
        yield urlunsplit(server._replace(netloc=place))


@contextmanager
def clickhouse_over_http(folder: Path) -> Iterator[str]:
    """The URL of a ClickHouse server."""
    port = free_port()
    options = [f"--path={folder}", f"--http_port={port}", f"--tcp_port={free_port()}"]
    more = ["--mysql_port=0", "--postgresql_port=0"]
    with serving([program("clickhouse"), "server", "--", *options, *more], folder, port):
        yield f"http://default@127.0.0.1:{port}"


@contextmanager
def redis_over_tcp(folder: Path, port: int | None = None) -> Iterator[str]:
    """The URL of a Redis server that asks for a password; killed at the end."""
    with _as_in_compose("redis", "REDIS_URL", folder, port=port) as url:
        yield url


@contextmanager
def chroma_over_http(folder: Path, port: int | None = None) -> Iterator[str]:
    """The URL of a Chroma server; killed at the end."""
    with _as_in_compose("chroma", "CHROMA_URL", folder, port=port) as url:
        yield url


@contextmanager
def mlflow_over_http(folder: Path, records: str = "") -> Iterator[str]:
    """The URL of an MLflow tracking server; of compose's, but with one worker.

    It is on the database `records`, else on SQLite.
    """
    records = records or f"sqlite:///{folder / 'mlflow.db'}"
    alone = ["--workers=1", f"--backend-store-uri={records}"]
    with _as_in_compose("mlflow", "MLFLOW_TRACKING_URI", folder, alone) as url:
        yield url


@contextmanager
def mariadb_over_tcp(folder: Path) -> Iterator[str]:
    """The URL of a MariaDB that asks for a password, with a database `shop` of the user's own."""
    port, data, first = free_port(), folder / "data", folder / "first.sql"
    account = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        [program("mariadb-install-db"), "--no-defaults", "--force", f"--datadir={data}", *account],
        check=True,
        capture_output=True,
    )
    first.write_text(
        "create database shop character set utf8mb4;\n"
        f"create user 'reader'@'%' identified by '{PASSWORD}';\n"
        "grant all on *.* to 'reader'@'%';\n"
    )
    command = [program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--port={port}"]
    options = ["--bind-address=127.0.0.1", f"--socket={folder}/s", f"--init-file={first}"]
    with serving([*command, *options, *account, "--skip-name-resolve"], folder, port):
        yield f"mysql://reader:{PASSWORD}@127.0.0.1:{port}/shop"


@contextmanager
def _as_in_compose(
    name: str, setting: str, folder: Path, more: Sequence[str] = (), port: int | None = None
) -> Iterator[str]:
    """The URL of a server that is started as the whole stack starts it."""
    (server,) = (each for each in STACK if each.name == name)
    ports = {each: free_port() for each in PORTS}
    ports[name] = port or ports[name]
    where = places_here(folder, ports)
    first, *words = [*put(server.command, where), *put(server.here, where), *more]
    settings = environment(server, where)
    with serving([program(first), *words], folder, ports[name], settings):
        yield ML_ASSETS[setting].format_map(where)


@contextmanager
def serving(
    command: Sequence[str],
    folder: Path,
    port: int,
    settings: Mapping[str, str] = MappingProxyType({}),
    account: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[None]:
    """Run a server in `folder` until the end of the block; it must listen on `port`."""
    log = folder / "server.log"
    server = launch(command, folder, log, settings, **account)
    try:
        wait_until(lambda: listens(port), server, log)
        yield
    finally:
        end(server)
