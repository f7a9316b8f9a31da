"""Every row of every store of a home, to be compared with those of another."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from clickhouse_connect.driver.client import Client

from ml_assets.search.indexes.chroma.copies import HEAD
from ml_assets.stores import cache, chroma, clickhouse, postgres
from ml_assets.stores.postgres.dump import list_databases

Contents = dict[str, list[str]]


def read_home(home: Path) -> Contents:
    """The rows of every table as text, sorted, under the name of store and table.

    To open chDB changes its files: a run then looks at every step.
    """
    return {
        **read_postgres(home),
        **_duckdb(home / "offline.duckdb"),
        **_sqlite(home),
        **_clickhouse(home),
        **_chroma(home),
        **_files(home),
    }


def read_postgres(home: Path) -> Contents:
    """The rows of every database, and the indexes of ours."""
    rows: Contents = {}
    with postgres.connect(None, home) as connection:
        databases = list_databases(connection)
    for database in databases:
        with psycopg.connect(postgres.server_url(None, home, database)) as connection:
            for schema, table in connection.execute(
                "select schemaname, tablename from pg_tables"
                " where schemaname not in ('pg_catalog', 'information_schema')"
            ).fetchall():
                # What a server counted is its own: a restored home has the count of its server, and
                # looks anew how things stand.
                row = "to_jsonb(t) - 'written' - 'standing'" if table == "finished_run" else "t"
                query = f'select ({row})::text from "{schema}"."{table}" t'
                # The head is what it is the hash of; a backup does not know of itself.
                if table in ("audit_head", "backups"):
                    continue
                if table == "model_audit_logs":  # of a restored home, that it was restored, too
                    query += " where action <> 'restore'"
                name = f"{database}.{schema}.{table}"
                rows[name] = sorted(row for (row,) in connection.execute(query).fetchall())
            query = "select indexdef from pg_indexes where schemaname = 'ml_schema'"
            # A database that is still empty is as good as none.
            if indexes := sorted(row for (row,) in connection.execute(query)):
                rows[f"{database} indexes"] = indexes
    return rows


def _duckdb(file: Path) -> Contents:
    if not file.exists():
        return {}
    with closing(duckdb.connect(str(file), read_only=True)) as connection:
        tables = [
            name
            for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()
        ]
        return {
            f"duckdb.{table}": sorted(map(str, connection.execute(f"from {table}").fetchall()))
            for table in tables
        }


def _sqlite(home: Path) -> Contents:
    rows: Contents = {}
    for file in sorted(home.rglob("*")):
        if file.name.startswith(cache.FILE):  # it is in no backup
            continue
        if file.is_file() and file.read_bytes()[:15] == b"SQLite format 3":
            with closing(sqlite3.connect(file)) as connection:
                query = (
                    "select name from sqlite_master where type = 'table' and name not like '%fts%'"
                )
                for (table,) in connection.execute(query).fetchall():
                    name = f"{file.relative_to(home)}.{table}"
                    rows[name] = sorted(map(str, connection.execute(f'select * from "{table}"')))
    return rows


def _clickhouse(home: Path) -> Contents:
    if not (home / "chdb").exists():
        return {}
    with clickhouse.connect(None, home) as client:
        tables = [name for (name,) in client.query("show tables").result_rows]
        return {f"clickhouse.{table}": _rows_of(client, table) for table in tables}


def _rows_of(client: Client, table: str) -> list[str]:
    """Of states of aggregates, what they come to: the client reads no others."""
    columns = [
        f"finalizeAggregation({name})" if kind.startswith("AggregateFunction") else name
        for name, kind, *_ in client.query(f"describe {table}").result_rows
    ]
    return sorted(map(str, client.query(f"select {', '.join(columns)} from {table}").result_rows))


def _chroma(home: Path) -> Contents:
    rows: Contents = {}
    with chroma.connect(None, home) as client:
        for collection in client.list_collections():
            held: Any = collection.get(include=["embeddings", "metadatas"])
            graph = collection.name.removesuffix("-copies")
            found = rows.setdefault(f"chroma.{graph}", [])
            entries = zip(held["ids"], held["embeddings"], held["metadatas"], strict=True)
            for id_, vector, own in entries:
                # Which one of equal texts stands in the graph depends on who came first.
                found.append(f"{id_} {sorted((key, own[key]) for key in own if key != HEAD)}")
                if graph == collection.name:
                    found.append(f"{own['vector']} {vector.tobytes().hex()}")
    return {name: sorted(entries) for name, entries in rows.items()}


def _files(home: Path) -> Contents:
    """The files of the indexes and of MLflow."""
    return {
        str(file.relative_to(home)): [file.read_bytes().hex()]
        for store in ("keyword", "faiss", "mlflow_artifacts")
        for file in (home / store).rglob("[!.]*")
        if file.is_file()
    }
