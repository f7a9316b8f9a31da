"""ml_assets as the bench runs it: its settings, its source file, its server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
from psycopg import sql

from ml_assets.embeddings.space import current_model
from ml_assets.settings import load_settings
from ml_assets.stores import postgres

COLLECTION = "documents"


def environment(state: Path, database: str = "") -> dict[str, str]:
    """The settings of a deployment in the folder `state`; without a `database` all is embedded."""
    given = {"POSTGRES_URL": database} if database else {}
    source = f"files:{quote(str(source_file(state)))}?name={COLLECTION}"
    return {"ML_ASSETS_HOME": str(state / "home"), "ML_ASSETS_SOURCE": source, **given}


def source_file(state: Path) -> Path:
    """The one file of the source, whose content the bench replaces."""
    return state / "source" / f"{COLLECTION}.jsonl"


def place(documents: Path, state: Path) -> None:
    """Make `documents` the content of the source."""
    target = source_file(state)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(documents, target)


@cache
def model() -> Path:
    """The folder of the bundled all-MiniLM-L6-v2: the one model of every contender."""
    return current_model(load_settings(embedding_model="")).path


@contextmanager
def embedded_server(home: Path) -> Iterator[str]:
    """The URL of the server that is embedded under `home`; it is stopped at the end."""
    url = postgres.server_url(None, home)
    try:
        yield url
    finally:
        postgres.stop(home)


@contextmanager
def copied_server(home: Path, copy: Path) -> Iterator[str]:
    """The URL of a server on a copy of the PostgreSQL of `home`, which is left as it is.

    Who owns the files is kept. The copy, a folder that is not there yet, is removed at the end.

    Raises:
        SystemExit: a server runs on it, whose files change while they are copied.
    """
    if (home / "postgres" / "postmaster.pid").exists():
        sys.exit(f"{home}: a server is running on it; stop it, and start again")
    copy.mkdir(parents=True)
    subprocess.run([shutil.which("cp") or "cp", "-a", home / "postgres", copy], check=True)
    with embedded_server(copy) as url:
        yield url
    shutil.rmtree(copy)


@contextmanager
def database(server: str) -> Iterator[str]:
    """The URL of a new, empty database on `server`; it is dropped at the end."""
    name = f"bench_{uuid4().hex}"
    try:
        yield postgres.server_url(server, Path(), name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            drop = sql.SQL("drop database if exists {} with (force)")
            connection.execute(drop.format(sql.Identifier(name)))


def read_chunks(url: str) -> dict[str, str]:
    """What is embedded of every chunk in a database of ml_assets, by the hash of that text."""
    query = (
        "select encode(text_hash, 'hex'), case heading when '' then text"
        " else heading || E'\\n' || text end from ml_schema.chunks order by chunk_id"
    )
    with psycopg.connect(url) as connection:
        return dict(connection.execute(query).fetchall())


def count_chunks(url: str) -> int:
    """How many chunks a database of ml_assets holds."""
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from ml_schema.chunks").fetchone()
    return int(row[0]) if row else 0
