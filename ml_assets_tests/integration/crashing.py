"""A run that dies at a named point: what the children of the crash tests do.

The children are forked (see `forking`), so that each starts at once.
"""

import hashlib
import importlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import numpy as np
import psutil
import psycopg
from numpy.typing import NDArray

from ml_assets import cli
from ml_assets.defs import build
from ml_assets.documents import refresh as documents
from ml_assets.documents.sources import open_source
from ml_assets.embeddings import refresh as embeddings
from ml_assets.embeddings.space import current_chunker
from ml_assets.search.indexes import ledger
from ml_assets.search.indexes.pgvector import building
from ml_assets.settings import Settings, load_settings, secret
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement
from ml_assets_tests.fakes import SPACE, HashEncoder
from ml_assets_tests.integration.forking import print_into
from ml_assets_tests.integration.stores import refresh_stores

BATCH = 4
"""Texts to a transaction; chunks and index entries, too, come in small batches."""

_LINGERING_INDEX = """
create or replace function linger() returns event_trigger language plpgsql as $$
begin perform pg_sleep(1); end $$;
create event trigger linger on ddl_command_end when tag in ('CREATE INDEX')
    execute function linger()
"""


@dataclass(frozen=True)
class Point:
    """Where something happens, when a process comes there for the n-th time.

    before, after: a call of the function `module:path`; sql: the statement, or without a name any,
    was executed, its transaction is still open; event: the asset's materialization, or the event of
    that type, or any, is about to be stored; write: within the function, a file grows over 1 byte;
    hnsw: PostgreSQL is building the index.
    """

    kind: Literal["before", "after", "sql", "event", "write", "hnsw"]
    name: str = ""
    times: int = 1

    def __str__(self) -> str:
        return f"{self.kind} {self.name.rpartition(':')[2]} {self.times}".replace("/", ".")


@dataclass(frozen=True)
class Attempt:
    """One child: its environment, its number, and what happens to whom at which point.

    process: the child and its children are killed; server: the embedded PostgreSQL, too;
    connections: PostgreSQL ends them; backend: one is killed, so that PostgreSQL starts anew.
    """

    home: Path
    environment: dict[str, str]
    number: int
    point: Point | None = None
    victim: Literal["process", "server", "connections", "backend"] = "process"
    everything: bool = True
    """`ml-assets run`; or else the stores alone, without Dagster."""

    def log(self, name: str) -> Path:
        return self.home / "attempts" / f"{self.number}.{name}"

    def read(self, name: str) -> str:
        return self.log(name).read_text() if self.log(name).exists() else ""


class LoggingEncoder(HashEncoder):
    """Writes down the hashes of what it encodes, in a way that survives a kill."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with self._log.open("a") as file:
            file.writelines(f"{hashlib.sha256(text.encode()).hexdigest()}\n" for text in texts)
        return super().encode(texts)


def run(attempt: Attempt) -> None:
    """Bring the stores up to date, until the point is reached."""
    os.environ.update(attempt.environment)
    settings = load_settings()
    attempt.log("").parent.mkdir(parents=True, exist_ok=True)
    print_into(attempt.log("output"))
    encoder = LoggingEncoder(attempt.log("encoded"))
    use_fakes(encoder)
    log_committed(attempt, settings)
    if attempt.point:
        arm(attempt.point, settings, attempt.victim)
    if attempt.everything:
        sys.exit(cli.app(["run"], standalone_mode=False))
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        source, chunker = open_source(settings.source, settings), current_chunker(settings)
        refresh_stores(connection, settings.home, source, chunker, SPACE, lambda: encoder)


def use_fakes(encoder: HashEncoder, float32: type[HashEncoder] = HashEncoder) -> None:
    """A small encoder in place of the model, and small batches."""
    build.build_definitions(load_settings())  # imports the modules of all assets and checks
    fakes: dict[str, Callable[..., object]] = {
        "current_space": lambda _: SPACE,
        "load_encoder": lambda *_: encoder,
        "load_float32": lambda _: float32(),
    }
    for module in [module for name, module in sys.modules.items() if name.startswith("ml_assets.")]:
        for name, fake in fakes.items():
            if hasattr(module, name):
                setattr(module, name, fake)
    documents._BATCH = embeddings._BATCH = BATCH
    ledger.VECTORS_AT_A_TIME = ledger.TEXTS_AT_A_TIME = BATCH


def log_committed(attempt: Attempt, settings: Settings) -> None:
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        rows = connection.execute("select distinct text_hash from document_embeddings").fetchall()
    attempt.log("committed").write_text("\n".join(value.hex() for (value,) in rows))


def arm(point: Point, settings: Settings, victim: str) -> None:
    """Make it happen at the point."""
    arrivals = count(1)

    def arrive() -> None:
        if next(arrivals) == point.times:
            strike(settings, victim)

    match point.kind:
        case "before":
            wrap(point.name, before=arrive)
        case "after":
            wrap(point.name, after=arrive)
        case "sql":
            _after_statement(statement(point.name) if point.name else None, arrive)
        case "event":
            _before_event(point.name, arrive)
        case "write":
            wrap(point.name, before=_die_at_the_next_write)
        case "hnsw":
            _while_building(settings, arrive)


def strike(settings: Settings, victim: str) -> None:
    """Let it happen to the victim, and return when it has."""
    if victim == "connections":
        _end_connections(settings)
    elif victim == "backend":
        _kill_a_backend(settings)
    else:
        if victim == "server":
            kill_server(settings.home / "postgres")
        os.killpg(0, signal.SIGKILL)


def kill_server(data: Path) -> None:
    postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    for process in (postmaster, *postmaster.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _end_connections(settings: Settings) -> None:
    query = (
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where application_name = %s and pid <> pg_backend_pid()"
    )
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        connection.execute(query, [f"ml_assets:{os.getpid()}"])


def _kill_a_backend(settings: Settings) -> None:
    query = "select pid from pg_stat_activity where application_name = %s and state <> 'active'"
    with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
        (pid,) = connection.execute(query, [f"ml_assets:{os.getpid()}"]).fetchone() or (0,)
    backend = psutil.Process(pid)
    backend.kill()
    backend.wait()


def wrap(
    name: str,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    module, _, path = name.partition(":")
    owner: Any = importlib.import_module(f"ml_assets.{module}")
    *outer, last = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    function = getattr(owner, last)

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before()
        result = function(*args, **kwargs)
        after()
        return result

    setattr(owner, last, wrapped)


def _after_statement(wanted: str | None, arrive: Callable[[], None]) -> None:
    execute = psycopg.Cursor.execute

    def run(self: psycopg.Cursor[Any], query: Any, *bound: Any, **more: Any) -> Any:
        cursor = execute(self, query, *bound, **more)
        if wanted in (None, query):
            arrive()
        return cursor

    psycopg.Cursor.execute = run  # type: ignore[method-assign]


def _before_event(name: str, arrive: Callable[[], None]) -> None:
    handle = dg.DagsterInstance.handle_new_event

    def handle_new_event(self: dg.DagsterInstance, event: Any, **more: Any) -> None:
        happened = event.dagster_event
        if happened and name in ("", _materialized(happened), happened.event_type_value):
            arrive()
        handle(self, event, **more)

    dg.DagsterInstance.handle_new_event = handle_new_event  # type: ignore[method-assign]


def _materialized(event: dg.DagsterEvent) -> str:
    key = event.asset_key if event.is_step_materialization else None
    return key.to_user_string() if key else ""


def _die_at_the_next_write() -> None:
    """In the middle of what a library writes: beyond the limit the kernel ends the process."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


def _while_building(settings: Settings, arrive: Callable[[], None]) -> None:
    build_index = building.build

    def watched(connection: postgres.Connection, *rest: Any) -> None:
        connection.execute(_LINGERING_INDEX)
        threading.Thread(target=watch, daemon=True).start()
        build_index(connection, *rest)

    def watch() -> None:
        with postgres.connect(secret(settings.postgres_url), settings.home) as connection:
            query = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
            while not connection.execute(query).fetchone():
                time.sleep(0.005)
            connection.execute("drop event trigger linger")
            arrive()

    building.build = watched
