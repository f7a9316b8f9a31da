"""The row delta from the tables to an index outside PostgreSQL.

The ledger `search_index_entries` says which revision of which chunk an index holds. Each batch goes
to the index first and to the ledger after: a run killed in between repeats one batch.

A random mark, in the index and in PostgreSQL, tells that both speak of the same content. It is
taken off the index before the first batch and renewed after the last: a restored index, a restored
database and the index of another host all carry another one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from typing import Any
from uuid import uuid4

from psycopg.rows import class_row

from ml_assets.delta import Delta
from ml_assets.progress import Progress, no_progress
from ml_assets.search.generation import on_vectors
from ml_assets.search.indexes.contract import Entry, LedgerIndex, SyncReport, Upkeep
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import exclusive
from ml_assets.stores.sql import statement

VECTORS_AT_A_TIME = 2000
TEXTS_AT_A_TIME = 10_000
"""Chunks that an index stores at a time, with vectors or without."""


def sync(
    connection: postgres.Connection, index: LedgerIndex[Any], progress: Progress = no_progress
) -> SyncReport:
    """Make `index` hold exactly the live chunks that are embedded in the generation's space.

    When the index carries another mark or another number of chunks than PostgreSQL says (a lost
    folder, a restored backup, a killed run), the ledger is first rewritten from what it holds.
    """
    started = time.perf_counter()
    with closing(index):
        delta = _sync(connection, index, progress)
    seconds = time.perf_counter() - started
    content = version(connection, index.generation, index.kind)
    return SyncReport(delta, delta.total, index.disk_bytes(), seconds, content)


def _sync(connection: postgres.Connection, index: LedgerIndex[Any], progress: Progress) -> Delta:
    generation = index.generation
    batch = VECTORS_AT_A_TIME if index.stores_vectors else TEXTS_AT_A_TIME
    key = _key(generation, index.kind)
    with exclusively(connection, generation, index.kind):
        size = _trust_the_index(connection, key, index)
        added = changed = removed = replaced = 0
        query = on_vectors(generation, statement("postgres/search/indexes/differing_entries"))
        for rows in postgres.read_batches(connection, query, key, size=batch):
            if index.mark():
                index.set_mark("")
            if gone := [chunk_id for chunk_id, is_gone, _ in rows if is_gone]:
                index.remove(gone)
                forget = statement("postgres/search/indexes/forget_entries")
                connection.execute(forget, {**key, "chunk_ids": gone})
                removed += len(gone)
            if wanted := {chunk_id: known for chunk_id, is_gone, known in rows if not is_gone}:
                entries = _entries(connection, index, list(wanted))
                replaced += index.upsert(entries)
                _record(connection, key, entries)
                known = sum(wanted[entry.chunk_id] for entry in entries)
                added += len(entries) - known
                changed += known
            progress(added + changed + removed, 0)
        if added or removed:
            size = index.size()  # twice a sync and no more: it takes Chroma long
        if size:
            _mark(connection, key, index, replaced + removed)
        elif removed:
            index.set_mark("")
        return Delta(added, changed, removed, size - added - changed)


def version(connection: postgres.Connection, generation: Generation, kind: str) -> str:
    """A hash over the chunk ids and revisions that the index holds by its ledger."""
    query = statement("postgres/search/indexes/ledger_version")
    [(content,)] = connection.execute(query, _key(generation, kind))
    return str(content)


def dead(connection: postgres.Connection, generation: Generation, kind: str) -> tuple[int, int]:
    """Entries replaced or removed since the index was built, and those that it holds."""
    query = statement("postgres/search/indexes/wear")
    counts = postgres.read_counts(connection, query, _key(generation, kind))
    return counts["dead"], counts["live"]


UPKEEP = Upkeep(sync, version, dead)


def altered(connection: postgres.Connection, index: LedgerIndex[Any]) -> list[str]:
    """The chunks that another hand changed in the index; it is asked for all that it holds."""
    query = statement("postgres/search/indexes/ledger_chunks")
    key = _key(index.generation, index.kind)
    return [
        chunk_id
        for rows in postgres.read_batches(connection, query, key, size=VECTORS_AT_A_TIME)
        for chunk_id in index.differing(_entries(connection, index, [name for (name,) in rows]))
    ]


def forget_altered(connection: postgres.Connection, index: LedgerIndex[Any]) -> None:
    """Have the next sync write again what another hand changed, added or removed in the index."""
    key = _key(index.generation, index.kind)
    with exclusively(connection, index.generation, index.kind):
        _read_anew(connection, key, index)
        bound = {**key, "chunk_ids": altered(connection, index)}
        connection.execute(statement("postgres/search/indexes/doubt_entries"), bound)


def forget_wear(connection: postgres.Connection, generation: Generation, kind: str) -> None:
    """Tell that the index was built anew; the next evaluation measures the generation again."""
    key = _key(generation, kind)
    connection.execute(statement("postgres/search/indexes/forget_wear"), key)


def exclusively(
    connection: postgres.Connection, generation: Generation, kind: str
) -> AbstractContextManager[None]:
    """Be the only one, over all processes, who writes this index; wait for one's turn."""
    return exclusive(connection, f"ml_schema.search.{generation.generation_id}.{kind}")


def _trust_the_index(
    connection: postgres.Connection, key: dict[str, Any], index: LedgerIndex[Any]
) -> int:
    """Rewrite the ledger unless the index is as it says; return how many chunks the index holds."""
    size = index.size()
    recorded = connection.execute(statement("postgres/search/indexes/recorded"), key).fetchone()
    if recorded != (size, index.mark()):
        _read_anew(connection, key, index)
    return size


def _read_anew(
    connection: postgres.Connection, key: dict[str, Any], index: LedgerIndex[Any]
) -> None:
    """Rewrite the ledger from what the index holds."""
    with connection.transaction():
        connection.execute(statement("postgres/search/indexes/clear_ledger"), key)
        postgres.copy_rows(
            connection,
            "search_index_entries",
            ("generation_id", "index_kind", "chunk_id", "revision"),
            ("text", "text", "text", "bytea"),
            ((*key.values(), chunk_id, revision) for chunk_id, revision in index.revisions()),
        )


def _mark(
    connection: postgres.Connection, key: dict[str, Any], index: LedgerIndex[Any], dead: int
) -> None:
    if not (mark := index.mark()):
        mark = uuid4().hex
        index.set_mark(mark)
    bound = {**key, "mark": mark, "worn": dead}
    connection.execute(statement("postgres/search/indexes/record_mark"), bound)


def _entries(
    connection: postgres.Connection, index: LedgerIndex[Any], ids: Sequence[str]
) -> list[Entry]:
    """The entries of these chunks, with their vectors where the index stores them."""
    query = on_vectors(index.generation, statement("postgres/search/indexes/entries"))
    bound = {"chunk_ids": list(ids), "embeddings": index.stores_vectors}
    with connection.cursor(binary=True, row_factory=class_row(Entry)) as cursor:
        return cursor.execute(query, bound).fetchall()


def _record(connection: postgres.Connection, key: dict[str, Any], entries: Sequence[Entry]) -> None:
    bound = {
        **key,
        "chunk_ids": [entry.chunk_id for entry in entries],
        "revisions": [entry.revision for entry in entries],
    }
    connection.execute(statement("postgres/search/indexes/record_entries"), bound)


def _key(generation: Generation, kind: str) -> dict[str, Any]:
    return {"generation_id": generation.generation_id, "index_kind": kind}
