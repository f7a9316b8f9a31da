"""What a home has on servers: into a backup, and out of one into empty servers.

A backup is that of an embedded home, wherever its stores were, so that it can be restored anywhere.
PostgreSQL is filled last, and in one transaction. What was written to other servers before a kill
is written again by a restore of the same backup.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from ml_assets.documents.collections import count_rows
from ml_assets.errors import SettingError, StoreError
from ml_assets.releases.audit import Entry, append
from ml_assets.settings import Settings, secret
from ml_assets.stores import chroma, mlflow, online, postgres
from ml_assets.stores.postgres.dump import drop, list_databases, load
from ml_assets.stores.postgres.migration import SCHEMA, migrate
from ml_assets.stores.sql import statement

MLFLOW = "mlflow"
"""The database of MLflow, beside ours."""

_IN_HOME = {
    "chroma_url": ("chroma", "chroma.lock"),
    "online_url": ("online.sqlite", "online.sqlite-wal", "online.sqlite-shm"),
    "clickhouse_url": ("chdb",),
    "mlflow_tracking_uri": (mlflow.FOLDER,),
}
"""What the home has of a store that is on no server. ClickHouse is written anew by the next run."""


def on_servers(settings: Settings) -> set[str]:
    """The names in a home that are not in use, since the store is on a server."""
    return {name for url, names in _IN_HOME.items() if getattr(settings, url) for name in names}


def fetch(settings: Settings, folder: Path) -> None:
    """Copy what is on servers, PostgreSQL aside, into `folder`, as it lies in an embedded home."""
    home = settings.home
    if url := secret(settings.chroma_url):
        with chroma.connect(url, home) as source, chroma.connect(None, folder) as target:
            chroma.copy_collections(source, target)
    if url := secret(settings.online_url):
        with online.connect(url, home) as values, online.connect(None, folder) as copied:
            online.copy_values(values, copied, str(folder))
    if url := secret(settings.mlflow_tracking_uri):
        _, artifacts = mlflow.artifacts_of(mlflow.tracking(url, None, home))
        (folder / mlflow.FOLDER).mkdir()
        if artifacts.list_artifacts():
            artifacts.download_artifacts("", dst_path=str(folder / mlflow.FOLDER))


def place(settings: Settings, folder: Path) -> None:
    """Copy vectors and values that lie in `folder`, as in an embedded home, to the servers.

    Raises:
        StoreError: a server does not answer, or is not empty.
    """
    if url := secret(settings.chroma_url):
        with chroma.connect(None, folder) as source, chroma.connect(url, folder) as target:
            chroma.copy_collections(source, target)
    if url := secret(settings.online_url):
        with online.connect(None, folder) as values, online.connect(url, folder) as copied:
            online.copy_values(
                values, copied, "DYNAMODB_URL" if settings.dynamodb_url else "REDIS_URL"
            )


@contextmanager
def claimed(connection: postgres.Connection, backup: str) -> Iterator[bool]:
    """Fill an empty server in the block; true if a restore of `backup` was begun and killed.

    The comment of the schema says so till all is in its place.

    Raises:
        StoreError: it is not empty.
    """
    mark = f"a restore of the backup {backup} was begun"
    ((comment,),) = connection.execute(statement("postgres/operations/comment")).fetchall()
    begun = comment == mark
    if not begun and (table := _first_rows(connection)):
        raise StoreError(
            f"the server is not empty: {SCHEMA}.{table} has rows",
            where="POSTGRES_URL",
            do=f"Name an empty database, or drop the schema {SCHEMA} if nobody needs it",
        )
    _comment(connection, mark)
    yield begun
    _comment(connection, None)


def load_ours(connection: postgres.Connection, file: Path, entry: Entry) -> None:
    """Fill PostgreSQL, in one transaction; where it was filled before a kill, it stays.

    `entry`: what the audit log has of it.

    Raises:
        RoleError: by the roles of the backup, its actor may not.
    """
    if _first_rows(connection):
        return
    with connection.transaction():
        ((mark,),) = connection.execute(statement("postgres/operations/comment")).fetchall()
        connection.execute(f"drop schema {SCHEMA} cascade; create schema {SCHEMA}")
        load(connection, file, SCHEMA)
        migrate(connection)
        append(connection, entry)
        _comment(connection, mark)
    connection.execute("analyze")


def load_mlflow(settings: Settings, home: Path, file: Path, *, begun: bool) -> None:
    """Fill MLflow's database, in one transaction; where it was filled before a kill, it stays.

    The artifacts, which lie in `home`, are copied before that to where a server keeps them.

    Raises:
        StoreError: it is not empty, or that of another version of MLflow.
    """
    database = postgres.server_url(secret(settings.postgres_url), home, MLFLOW)
    with psycopg.connect(database, autocommit=True) as connection:
        if _is_used(connection):
            if begun:
                return
            raise StoreError(
                "it has runs or models already",
                where=f"the database {MLFLOW} of PostgreSQL",
                do="Name a tracking server that is empty",
            )
        location = mlflow.LOCATION
        if uri := secret(settings.mlflow_tracking_uri):
            location, artifacts = mlflow.artifacts_of(mlflow.tracking(uri, None, home))
            artifacts.log_artifacts(str(home / mlflow.FOLDER))
        with connection.transaction():
            served_by = _version(connection)
            drop(connection, file, "public")
            load(connection, file, "public")
            if uri and _version(connection) != served_by:
                raise StoreError(
                    "the tracking server is of another version of MLflow than the backup",
                    where="MLFLOW_TRACKING_URI",
                    do="Start it with the version that `pip show mlflow` shows here",
                )
            for _, old in _experiment(connection):
                mlflow.move_artifacts(connection, old, location)


def find_mlflow(settings: Settings, connection: postgres.Connection) -> bool:
    """Whether there is a database of MLflow beside ours.

    Raises:
        SettingError: the tracking server keeps its records in another.
    """
    there = MLFLOW in list_databases(connection)
    uri = secret(settings.mlflow_tracking_uri)
    if uri is None:
        return there
    created = mlflow.created_at(mlflow.tracking(uri, None, settings.home))
    if there:
        url = postgres.server_url(secret(settings.postgres_url), settings.home, MLFLOW)
        with psycopg.connect(url) as records:
            if any(made == created for made, _ in _experiment(records)):
                return True
    raise SettingError(
        f"the tracking server keeps its records elsewhere than in the database {MLFLOW} beside"
        " that of POSTGRES_URL, and over HTTP runs and models cannot keep their identities",
        where="MLFLOW_TRACKING_URI",
        do=f"Start it with --backend-store-uri postgresql://…/{MLFLOW}",
    )


def left_behind(settings: Settings) -> str:
    """What to say of a home with an embedded database that is not in use, for an empty server."""
    url, home = secret(settings.postgres_url), settings.home
    if url is None or not (home / "postgres" / "PG_VERSION").exists():
        return ""
    with postgres.connect(url, home) as connection:
        if count_rows(connection)["documents"]:
            return ""
    with postgres.connect(None, home) as connection:
        documents = count_rows(connection)["documents"]
    if not documents:
        return ""
    place = urlsplit(url).netloc.rpartition("@")[2] or "localhost"
    return (
        f"This home has an embedded database with {documents:,} documents, and the server at"
        f" {place} is empty. To move: `ml-assets"
        " backup FOLDER` without the URL, `ml-assets restore FOLDER` with it into another home."
    )


def _first_rows(connection: postgres.Connection) -> str | None:
    """A table with rows; the ledger of the migrations is one of every database."""
    tables = connection.execute(statement("postgres/operations/tables")).fetchall()
    for (table,) in tables:
        query = sql.SQL("select exists (select from {})").format(sql.Identifier(SCHEMA, table))
        if connection.execute(query).fetchone() == (True,):
            return str(table)
    return None


def _comment(connection: postgres.Connection, text: str | None) -> None:
    command = sql.SQL("comment on schema {} is {}")
    connection.execute(command.format(sql.Identifier(SCHEMA), sql.Literal(text)))


def _has(connection: postgres.Connection, table: str) -> bool:
    row = connection.execute("select to_regclass(%s)", [f"public.{table}"]).fetchone()
    return row != (None,)


def _experiment(connection: postgres.Connection) -> list[tuple[int, str]]:
    """When our experiment was made, and where its artifacts are."""
    if not _has(connection, "experiments"):
        return []
    return connection.execute(
        statement("postgres/stores/experiment"), [mlflow.EXPERIMENT]
    ).fetchall()


def _is_used(connection: postgres.Connection) -> bool:
    used = statement("postgres/stores/mlflow_is_used")
    return _has(connection, "runs") and connection.execute(used).fetchone() == (True,)


def _version(connection: postgres.Connection) -> str | None:
    if not _has(connection, "alembic_version"):
        return None
    ((version,),) = connection.execute("select version_num from alembic_version").fetchall()
    return str(version)
