"""PostgreSQL: rows by the ids of documents and chunks, and texts that name them, wherever they are.

Which tables have them is asked of the catalog, so that a table which is made later is not missed.
Those of MLflow and Dagster beside ours are looked through in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psycopg
from psycopg import sql
from psycopg.errors import UniqueViolation

from ml_assets.documents.collections import read_anew
from ml_assets.operations.erasure.subject import Place, Removed, Subject
from ml_assets.operations.erasure.wording import Wording, wording_of
from ml_assets.settings import secret
from ml_assets.stores import postgres
from ml_assets.stores.postgres.dump import list_databases
from ml_assets.stores.postgres.migration import SCHEMA
from ml_assets.stores.postgres.rewriting import (
    leaves,
    renew_log,
    rewrite,
    rewrite_statistics,
)
from ml_assets.stores.sql import statement

_BESIDE = ("mlflow", "dagster")
"""Databases of others that are beside ours, as a rule."""

_OWN_ROWS = {
    *("documents", "chunked_documents", "change_log", "pushed_documents", "search_index_entries"),
    *("forgotten", "forgotten_salt", "migrations"),
}
"""Tables whose rows are each of one document, and have no other's: by key all is found there."""

_CHAINED = "model_audit_logs"
"""Entries of the audit log are chained by their content: whoever alters one breaks the chain."""


def erase(place: Place, subject: Subject) -> list[Removed]:
    """Remove rows and texts, then write tables, statistics and, embedded, the log anew.

    Tables of vectors were written by `graphs_built_anew`.
    """
    connection, wording = place.connection, wording_of(subject)
    removed = {"rows": 0, "texts": 0}
    with connection.transaction():
        removed["rows"] = _erase_rows(connection, subject)
        removed["texts"] = _erase_texts(connection, SCHEMA, wording)
        read_anew(connection, subject.collections)
    how = _rewrite(connection, SCHEMA)
    for records in _beside(place):
        with records.transaction():
            removed["texts"] += _erase_texts(records, "public", wording)
        how = _rewrite(records, "public")
    if secret(place.settings.postgres_url) is None:
        renew_log(connection)
        how += "; the write-ahead log was begun anew"
    else:
        how += "; not shown: the archive of its log, replicas, free blocks of its disks"
    named = {"rows": "other rows that name it", "texts": "texts that name it"}
    return [Removed("PostgreSQL", named[what], count, how) for what, count in removed.items()]


@contextmanager
def graphs_built_anew(place: Place) -> Iterator[None]:
    """Write the tables of vectors anew, beside what is done within the block.

    It takes longer than all else of PostgreSQL. `hide` comes before, `erase` after.
    """
    url, home = secret(place.settings.postgres_url), place.home
    with postgres.connect(url, home) as own, ThreadPoolExecutor(1) as beside:
        building = beside.submit(_build_graphs, own)
        try:
            yield
        except BaseException:
            with suppress(psycopg.Error):  # who stops, or fails, does not wait for it
                end = "select pg_terminate_backend(%s)"
                place.connection.execute(end, [own.info.backend_pid])
            raise
        building.result()


def _build_graphs(connection: postgres.Connection) -> None:
    for leaf in leaves(connection, SCHEMA):
        if leaf.is_graph:
            rewrite(connection, leaf)


def hide(connection: postgres.Connection, subject: Subject) -> None:
    """Remove what searches answer from, before all else: caches are not filled with it again."""
    for table, column, values in (
        ("document_embeddings", "chunk_id", subject.chunks),
        ("documents", "document_id", subject.documents),  # and chunks with them
        ("pushed_documents", "document_id", subject.documents),
    ):
        _delete(connection, table, column, values)


def _keyed(
    connection: postgres.Connection, subject: Subject
) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Tables, the column by which they know a document, and what it can be; chunks come first."""
    for column, values in (("chunk_id", subject.chunks), ("document_id", subject.documents)):
        bound = {"schema": SCHEMA, "column": column}
        for (table,) in connection.execute(statement("postgres/stores/columns_named"), bound):
            yield table, column, values


def _erase_rows(connection: postgres.Connection, subject: Subject) -> int:
    count = 0
    keyed = list(_keyed(connection, subject))
    # What refers to documents goes with them.
    keyed.sort(key=lambda each: each[0] == "documents")
    for table, column, values in keyed:
        count += _delete(connection, table, column, values)
    bound = {"schema": SCHEMA, "column": "document_ids"}
    for (table,) in connection.execute(
        statement("postgres/stores/columns_named"), bound
    ).fetchall():
        names = {"table": sql.Identifier(SCHEMA, table)}
        update = sql.SQL(statement("postgres/operations/remove_from_lists")).format(**names)
        count += connection.execute(update, {"document_ids": list(subject.documents)}).rowcount
    return count


def _delete(connection: postgres.Connection, table: str, column: str, values: Sequence[str]) -> int:
    names = {"table": sql.Identifier(SCHEMA, table), "column": sql.Identifier(column)}
    delete = sql.SQL("delete from {table} where {column} = any(%s)").format(**names)
    return connection.execute(delete, [list(values)]).rowcount


def _erase_texts(connection: postgres.Connection, schema: str, wording: Wording) -> int:
    """Take the words out of every column of text; return of how many values."""
    bound = {"schema": schema}
    columns = connection.execute(statement("postgres/stores/columns_of_text"), bound).fetchall()
    return sum(
        _erase_column(connection, schema, column, wording)
        for column in columns
        if column[0] != _CHAINED and not _is_of_documents(column[0])
    )


def _erase_column(
    connection: postgres.Connection, schema: str, column: tuple[str, ...], wording: Wording
) -> int:
    table, name, kind = column
    names = {
        "table": sql.Identifier(schema, table),
        "column": sql.Identifier(name),
        "type": sql.SQL(kind),
    }
    distinct = sql.SQL("select distinct {column}::text from {table} where {column} is not null")
    changed = [
        (old, new)
        for batch in postgres.read_batches(connection, distinct.format(**names))
        for (old,) in batch
        if (new := wording.without(old)) != old
    ]
    if not changed:
        return 0
    # Some tables are append-only, for all but their owner.
    switch = "alter table {table} disable trigger user", "alter table {table} enable trigger user"
    disable, enable = (sql.SQL(command).format(**names) for command in switch)
    update = sql.SQL(statement("postgres/operations/change_texts")).format(**names)
    delete = sql.SQL("delete from {table} where {column}::text = any(%(old)s)").format(**names)
    bound = {"old": [old for old, _ in changed], "new": [new for _, new in changed]}
    connection.execute(disable)
    try:
        with connection.transaction():
            connection.execute(update, bound)
    except UniqueViolation:  # without what is taken out, keys of several rows are the same
        connection.execute(delete, {"old": bound["old"]})
    connection.execute(enable)
    return len(changed)


def _is_of_documents(table: str) -> bool:
    return table in _OWN_ROWS or table.startswith(("chunks_", "document_embeddings_"))


def _beside(place: Place) -> Iterator[postgres.Connection]:
    """The databases of MLflow and Dagster on the same server, one after the other."""
    there = list_databases(place.connection)
    for database in _BESIDE:
        if database in there:
            url = secret(place.settings.postgres_url)
            where = postgres.server_url(url, place.home, database)
            with psycopg.connect(where, autocommit=True) as records:
                yield records


def _rewrite(connection: postgres.Connection, schema: str) -> str:
    for leaf in leaves(connection, schema):
        if not leaf.is_graph:
            rewrite(connection, leaf)
    if rewrite_statistics(connection):
        return "tables, indexes and statistics were written anew"
    return "tables and indexes were written anew; its statistics only a superuser can"
