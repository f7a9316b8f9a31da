"""Hashes over what decides a run beside the documents: settings and code, and what stores hold."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from ml_assets.documents.sources import Source
from ml_assets.embeddings.space import current_chunker, current_space
from ml_assets.settings import Settings, secret
from ml_assets.stores import postgres
from ml_assets.stores.sql import SQL, statement

_PACKAGE = Path(__file__).resolve().parent.parent


def run_inputs(settings: Settings, source: Source) -> str:
    """A hash over what decides a run beside the documents: settings, code, judged queries."""
    parts = (
        settings.model_dump_json(exclude={"actor", "home", "postgres_url", "postgres_read_url"}),
        secret(settings.postgres_url),
        platform.python_version(),
        code_of(),
        current_chunker(settings).fingerprint,
        current_space(settings).space_id,
        source.judged_queries(),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def written(connection: postgres.Connection, settings: Settings) -> str:
    """A hash over what PostgreSQL counted of all that was written, and the embedded stores' files.

    Of files size and time. Another hash: somebody wrote, removed or restored something.
    """
    connection.execute("select pg_stat_force_next_flush()")
    counted = connection.execute(statement("postgres/operations/written")).fetchall()
    digest, home = hashlib.sha256(repr(counted).encode()), settings.home
    stores = [home / "chroma", home / "chdb", home / "mlflow_artifacts", home / "online.sqlite"]
    indexes = [settings.keyword_folder, settings.faiss_folder]
    for store in (*stores, *indexes, settings.duckdb_file):
        for file in sorted(_files(store)):
            stat = file.stat()
            # Its place in the store, not on the disk: a home can be moved.
            place = f"{store.name}/{file.relative_to(store)}"
            digest.update(os.fsencode(f"{place} {stat.st_size} {stat.st_mtime_ns}\n"))
    return digest.hexdigest()


def _files(store: Path) -> Iterable[Path]:
    if store.is_file():
        return [store]
    # Hidden files are locks, which readers make, too.
    return (file for file in store.rglob("[!.]*") if file.is_file())


@lru_cache
def code_of(room: str = "") -> str:
    """A hash over the code and the SQL of a room, or of all."""
    digest = hashlib.sha256()
    for folder, pattern in ((_PACKAGE, "*.py"), (_PACKAGE, "*.jsonl"), (SQL, "*.sql")):
        for file in sorted(folder.rglob(pattern)):
            name = file.relative_to(folder)
            if not room or room in name.with_suffix("").parts:
                digest.update(str(name).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
