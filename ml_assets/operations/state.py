"""Hashes over what decides a run beside the documents: settings and code, and what stores hold."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from uuid import uuid4

from ml_assets.documents.sources import Source
from ml_assets.embeddings.space import current_chunker, current_space
from ml_assets.errors import StoreError
from ml_assets.features.definition import fingerprint
from ml_assets.features.views import VIEWS
from ml_assets.registry.model import MODEL_NAME
from ml_assets.settings import Settings, secret
from ml_assets.stores import chroma, clickhouse, mlflow, online, postgres
from ml_assets.stores.sql import SQL, statement

_PACKAGE = Path(__file__).resolve().parent.parent


def is_marked(settings: Settings) -> bool:
    """Whether a store other than PostgreSQL is on a server, and told by a mark."""
    return any(url for url, _, _ in _stores(settings))


_PLACES = {
    *("home", "postgres_url", "postgres_read_url", "chroma_url", "clickhouse_url", "redis_url"),
    *("mlflow_tracking_uri", "duckdb_path", "keyword_index_path", "memcached_url"),
    *("dynamodb_url", "query_cache_seconds", "prediction_cache_seconds"),
    *("timeseries_url", "metrics_store", "metrics_days"),
}


def run_inputs(settings: Settings, source: Source) -> str:
    """A hash over what decides a run beside the documents: settings, code, judged queries, views.

    Where the stores lie is not in it: what they hold is `written`.
    """
    parts = (
        settings.model_dump_json(exclude={"actor", *_PLACES}),
        platform.python_version(),
        code_of(),
        current_chunker(settings).fingerprint,
        current_space(settings).space_id,
        source.judged_queries(),
        [(fingerprint(view), view.source and view.source.stamp()) for view in VIEWS.values()],
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def written(connection: postgres.Connection, settings: Settings) -> str:
    """A hash over what PostgreSQL counted of all that was written, and the other stores' marks.

    Of embedded stores that is the size and time of their files. Another hash: somebody wrote,
    removed or restored something, or a server does not answer.
    """
    digest, local = hashlib.sha256(counted(connection).encode()), []
    online.settle(settings.home)
    for url, name, ask in _stores(settings):
        if url is None:
            local.append(settings.home / name)
        else:
            digest.update(_mark(ask, url).encode())
    for store in (*local, settings.keyword_folder, settings.faiss_folder, settings.duckdb_file):
        for file in sorted(_files(store)):
            try:
                stat = file.stat()
            except FileNotFoundError:  # a reader that follows the index removed it just now
                continue
            # Its place in the store, not on the disk: a home can be moved.
            place = f"{store.name}/{file.relative_to(store.parent)}"
            digest.update(os.fsencode(f"{place} {stat.st_size} {stat.st_mtime_ns}\n"))
    return digest.hexdigest()


def counted(connection: postgres.Connection) -> str:
    """What PostgreSQL counted of what was written to it, and runs read."""
    connection.execute("select pg_stat_force_next_flush()")
    return repr(connection.execute(statement("postgres/operations/written")).fetchall())


def _stores(settings: Settings) -> Iterator[tuple[str | None, str, Callable[[str], str]]]:
    """Each store that has a URL or lies in the home: both, and what asks a server for its mark."""
    yield secret(settings.chroma_url), "chroma", chroma.mark
    yield secret(settings.clickhouse_url), "chdb", clickhouse.mark
    tracking = secret(settings.mlflow_tracking_uri)
    yield tracking, mlflow.FOLDER, partial(mlflow.mark, name=MODEL_NAME)
    yield secret(settings.online_url), "online.sqlite", online.mark


def _mark(ask: Callable[[str], str], url: str) -> str:
    try:
        return ask(url)
    except StoreError:
        return uuid4().hex  # what cannot be asked is never as it was; a run tells why


def _files(store: Path) -> Iterable[Path]:
    if store.is_file():
        # What was written while another process reads stays in the log of SQLite, or DuckDB's.
        logs = (store.with_name(store.name + ending) for ending in ("-wal", ".wal"))
        return [store, *(log for log in logs if log.exists() and log.stat().st_size)]
    # Hidden files are locks, which readers make, too.
    return (file for file in store.rglob("[!.]*") if file.is_file())


@lru_cache
def code_of(room: str = "") -> str:
    """A hash over the code and the SQL of a room, or of all."""
    digest = hashlib.sha256()
    for folder in (_PACKAGE, SQL):
        for name in _code_files(folder):
            if not room or room in name.rpartition(".")[0].split("/"):
                digest.update(os.fsencode(name) + b"\0" + (folder / name).read_bytes())
    return digest.hexdigest()


@lru_cache
def _code_files(root: Path) -> list[str]:
    """The files of code and SQL below a folder, by their paths from there; a run asks ten times."""
    return sorted(
        f"{folder}/{name}".removeprefix(f"{root}/")
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith((".py", ".jsonl", ".sql"))
    )
