"""The row delta from the tables to an index outside PostgreSQL.

The ledger `search_index_entries` says which revision of which chunk an index holds. Each batch goes
to the index first and to the ledger after: a run killed in between repeats one batch.

A random mark, in the index and in PostgreSQL, tells that both speak of the same content. It is
taken off the index before the first batch and renewed after the last: a restored index, a restored
database and the index of another host all carry another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

from psycopg import sql

from ml_assets.delta import Delta
from ml_assets.embeddings.refresh import partition_name
from ml_assets.progress import Progress, no_progress
from ml_assets.search.model import Entry, Generation, Kind, LedgerIndex
from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import exclusive
from ml_assets.stores.sql import statement

BATCH = 2000


def sync_ledger(
    connection: postgres.Connection,
    generation: Generation,
    index: LedgerIndex,
    *,
    embeddings: bool,
    batch: int = BATCH,
    progress: Progress = no_progress,
) -> Delta:
    """Make `index` hold exactly the live chunks that are embedded in the generation's space.

    Only new, changed and gone chunks are written, `batch` at a time. When the index carries
    another mark or holds another number of chunks than PostgreSQL says (a lost folder, a restored
    backup, a killed run), the ledger is first rewritten from what the index really holds.
    `embeddings`: hand out the vectors too.
    """
    key: dict[str, Any] = {"generation_id": generation.generation_id, "index_kind": index.kind}
    with exclusively(connection, generation, index.kind):
        size = _trust_the_index(connection, key, index)
        added = changed = removed = replaced = 0
        query = _composed(connection, "differing_entries", generation)
        for rows in postgres.read_batches(connection, query, key, size=batch):
            _unmark(index)
            if gone := [chunk_id for chunk_id, is_gone in rows if is_gone]:
                index.remove(gone)
                _forget(connection, key, gone)
                removed += len(gone)
            if wanted := [chunk_id for chunk_id, is_gone in rows if not is_gone]:
                entries, known = _entries(connection, generation, key, wanted, embeddings)
                replaced += index.upsert(entries)
                _record(connection, key, entries)
                added += len(entries) - known
                changed += known
            progress(added + changed + removed, 0)
        if added or removed:
            size = index.size()  # twice a sync and no more: 145,000 chunks take Chroma 0.3 s
        if size:
            _mark(connection, key, index, replaced + removed)
        return Delta(added, changed, removed, size - added - changed)


def ledger_version(connection: postgres.Connection, generation: Generation, kind: Kind) -> str:
    """A hash over the chunk ids and revisions that the index holds by its ledger."""
    row = postgres.run(
        connection,
        statement("postgres/search/indexes/ledger_version"),
        {"generation_id": generation.generation_id, "index_kind": kind},
    ).fetchone()
    return str(row[0]) if row else ""


def exclusively(
    connection: postgres.Connection, generation: Generation, kind: Kind
) -> AbstractContextManager[None]:
    """Be the only one, over all processes, who writes this index; wait for one's turn."""
    return exclusive(connection, f"ml_schema.search.{generation.generation_id}.{kind}")


def _trust_the_index(
    connection: postgres.Connection, key: dict[str, Any], index: LedgerIndex
) -> int:
    """Rewrite the ledger unless the index is as it says; return how many chunks the index holds."""
    size = index.size()
    recorded = postgres.run(
        connection, statement("postgres/search/indexes/count_ledger"), key
    ).fetchone()
    known = postgres.run(connection, statement("postgres/search/indexes/find_mark"), key).fetchone()
    if recorded == (size,) and known == (index.mark(),):
        return size
    with connection.transaction():
        postgres.run(connection, statement("postgres/search/indexes/clear_ledger"), key)
        postgres.copy_rows(
            connection,
            "search_index_entries",
            ("generation_id", "index_kind", "chunk_id", "revision"),
            ("text", "text", "text", "bytea"),
            ((*key.values(), chunk_id, revision) for chunk_id, revision in index.revisions()),
        )
    return size


def _unmark(index: LedgerIndex) -> None:
    if index.mark():
        index.set_mark("")


def _mark(
    connection: postgres.Connection, key: dict[str, Any], index: LedgerIndex, worn: int
) -> None:
    mark = index.mark()
    if not mark:
        mark = uuid4().hex
        index.set_mark(mark)
    bound = {**key, "mark": mark, "worn": worn}
    postgres.run(connection, statement("postgres/search/indexes/record_mark"), bound)


def _entries(
    connection: postgres.Connection,
    generation: Generation,
    key: dict[str, Any],
    ids: Sequence[str],
    embeddings: bool,
) -> tuple[list[Entry], int]:
    """Read the entries of these chunks; also return how many of them the index held before."""
    query = _composed(connection, "entries", generation)
    bound = {**key, "chunk_ids": list(ids), "embeddings": embeddings}
    rows = connection.execute(query, bound, binary=True).fetchall()
    entries = [Entry(*fields) for _, *fields in rows]
    return entries, sum(known for known, *_ in rows)


def _record(connection: postgres.Connection, key: dict[str, Any], entries: Sequence[Entry]) -> None:
    bound = {
        **key,
        "chunk_ids": [entry.chunk_id for entry in entries],
        "revisions": [entry.revision for entry in entries],
    }
    postgres.run(connection, statement("postgres/search/indexes/record_entries"), bound)


def _forget(connection: postgres.Connection, key: dict[str, Any], ids: Sequence[str]) -> None:
    bound = {**key, "chunk_ids": list(ids)}
    postgres.run(connection, statement("postgres/search/indexes/forget_entries"), bound)


def _composed(connection: postgres.Connection, name: str, generation: Generation) -> str:
    return (
        sql.SQL(statement(f"postgres/search/indexes/{name}"))
        .format(partition=sql.Identifier(partition_name(generation.space_id)))
        .as_string(connection)
    )
