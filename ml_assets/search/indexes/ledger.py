"""The row delta from the tables to an index outside PostgreSQL.

The ledger `search_index_entries` says which revision of which chunk an index holds. Each batch goes
to the index first and to the ledger after: a run killed in between repeats one batch.

The index carries the hash of its content as its mark: it is taken off before the first batch and
set after the last. An index whose mark is the one that PostgreSQL has is as the ledger says; any
other one (lost, restored, or of another host) is asked for what it holds. So every host has an
index of its own by one ledger, and hosts whose indexes are equal never write it in turn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from typing import Any

from psycopg import sql
from psycopg.rows import TupleRow, class_row

from ml_assets.delta import Delta
from ml_assets.progress import Progress, no_progress
from ml_assets.search.filters.language import Condition
from ml_assets.search.filters.sql import sql_condition
from ml_assets.search.generation import on_vectors
from ml_assets.search.indexes.contract import Entry, LedgerIndex, SyncReport, Upkeep, Waiting
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets.stores.file_locks import locked, try_lock
from ml_assets.stores.folders import folder
from ml_assets.stores.postgres.locks import DOCUMENTS, acquired, exclusive
from ml_assets.stores.sql import statement

VECTORS_AT_A_TIME = 2000
TEXTS_AT_A_TIME = 10_000
"""Chunks that an index stores at a time, with vectors or without."""

PATIENCE = 600.0
"""Seconds to wait for a reader of this host that brings the index up to date."""

_LEDGER = statement("postgres/search/indexes/ledger_entries")
_GIVEN = statement("postgres/search/indexes/given_entries")
"""What an index holds: by the ledger, or by itself."""

_EMPTY = "0"
"""The content of an index that holds nothing; there may be none to carry it."""


def sync(
    connection: postgres.Connection, index: LedgerIndex[Any], progress: Progress = no_progress
) -> SyncReport:
    """Make `index` hold exactly the live chunks that are embedded in the generation's space.

    When the index carries another mark or another number of chunks than PostgreSQL says (a lost
    folder, a restored backup, a killed run, another host), it is compared by what it holds itself,
    and the ledger then says that.
    """
    started = time.perf_counter()
    generation, key = index.generation, _key(index.generation, index.kind)
    with exclusively(connection, generation, index.kind), _alone(index), closing(index):
        size = index.size()
        recorded = connection.execute(statement("postgres/search/indexes/recorded"), key).fetchone()
        if recorded == (size, index.mark()):
            delta, replaced = _write_differences(connection, index, None, progress)
        else:
            indexed = dict(index.revisions())
            delta, replaced = _write_differences(connection, index, indexed, progress)
            _adopt(connection, key, indexed)
        if delta.added or delta.removed:
            size = index.size()  # twice a sync and no more: it takes Chroma long
        content = version(connection, generation, index.kind)
        if size or delta.removed:
            _mark(index, content if size else "", delta)
            bound = {**key, "mark": content, "worn": replaced + delta.removed}
            connection.execute(statement("postgres/search/indexes/record_mark"), bound)
            _record_synced(connection, generation, index.kind)
    delta = replace(delta, unchanged=size - delta.added - delta.changed)
    seconds = time.perf_counter() - started
    return SyncReport(delta, delta.total, index.disk_bytes(), seconds, content)


def follow(connection: postgres.Connection, index: LedgerIndex[Any]) -> int:
    """Bring an index of this host up to date if another host wrote since; the ledger stays.

    Returns how many documents the index is behind: 0, unless another process writes it just now,
    or this one may not.
    """
    lock = index.lock
    if lock is None or _follows(connection, index):
        return 0
    try:
        descriptor = try_lock(folder(lock.parent) / lock.name)
    except OSError:
        descriptor = None
    with closing(index):
        indexed = dict(index.revisions())
        if descriptor is None:
            rows = _differing(connection, index, indexed)
            return len({name.rpartition("#")[0] for batch in rows for name, *_ in batch})
        try:
            if not _follows(connection, index):  # somebody else was quicker
                delta, _ = _write_differences(connection, index, indexed, no_progress)
                _mark(
                    index, _content(connection, _GIVEN, _arrays(indexed)) if indexed else "", delta
                )
        finally:
            os.close(descriptor)
    return 0


def marks(connection: postgres.Connection, generation: Generation) -> dict[str, str]:
    """The mark by kind of each index of a generation, as it was last synced on any host."""
    bound = {"generation_id": generation.generation_id}
    return dict(connection.execute(statement("postgres/search/indexes/marks"), bound).fetchall())


def waiting_documents(
    connection: postgres.Connection,
    generation: Generation,
    kinds: Sequence[str],
    condition: Condition,
) -> Waiting:
    """The live documents that were written since the indexes of these kinds last had all of them.

    Looked at one by one, so that none counts which they have in the meantime: few, or none.
    """
    passing, bound = sql_condition(condition)
    query = statement("postgres/search/indexes/count_waiting")
    text = _on_waiting(generation, query, passing=passing)
    row = connection.execute(text, {**bound, **_waiting_for(generation, kinds)}).fetchone()
    return Waiting(*row) if row else Waiting(0, 0)


def waiting_among(
    connection: postgres.Connection,
    generation: Generation,
    kinds: Sequence[str],
    document_ids: Sequence[str],
) -> set[str]:
    """Those of these live documents that the indexes of these kinds do not have as they are."""
    text = _on_waiting(generation, statement("postgres/search/indexes/waiting_among"))
    bound = {**_waiting_for(generation, kinds), "document_ids": list(document_ids)}
    return {name for (name,) in connection.execute(text, bound)}


def _record_synced(connection: postgres.Connection, generation: Generation, kind: str) -> None:
    """Keep when the index had every document, unless one waits for a stage before it.

    Documents that are written just now are seen later, with a time before this one.
    """
    text = _on_waiting(generation, statement("postgres/search/indexes/record_synced"))
    with connection.transaction():
        if acquired(connection, DOCUMENTS):
            bound = {**_key(generation, kind), **_waiting_for(generation, [kind])}
            connection.execute(text, bound)


def _on_waiting(generation: Generation, query: str, **parts: str) -> sql.SQL:
    waiting = on_vectors(generation, statement("postgres/search/indexes/waiting"))
    return on_vectors(generation, query, waiting=waiting.as_string(), **parts)


def _waiting_for(generation: Generation, kinds: Sequence[str]) -> dict[str, Any]:
    identity, chunker = generation.generation_id, generation.chunker
    return {"generation_id": identity, "chunker": chunker, "index_kinds": list(kinds)}


def _follows(connection: postgres.Connection, index: LedgerIndex[Any]) -> bool:
    known = marks(connection, index.generation).get(index.kind)
    return known in (None, index.mark()) or (known == _EMPTY and not index.size())


def _write_differences(
    connection: postgres.Connection,
    index: LedgerIndex[Any],
    indexed: dict[str, bytes] | None,
    progress: Progress,
) -> tuple[Delta, int]:
    """Write to the index what differs from the tables; return that, and the vectors replaced.

    What the index holds is told by the ledger, which is kept with every batch, or else is
    `indexed`, which is. The mark comes off before the first one.
    """
    key = _key(index.generation, index.kind)
    added = changed = removed = replaced = 0
    for rows in _differing(connection, index, indexed):
        if index.mark():
            index.set_mark("")
        if gone := [chunk_id for chunk_id, is_gone, _ in rows if is_gone]:
            index.remove(gone)
            _forget(connection, key, indexed, gone)
            removed += len(gone)
        if wanted := {chunk_id: known for chunk_id, is_gone, known in rows if not is_gone}:
            entries = _entries(connection, index, list(wanted))
            replaced += index.upsert(entries)
            _record(connection, key, indexed, entries)
            known = sum(wanted[entry.chunk_id] for entry in entries)
            added += len(entries) - known
            changed += known
        progress(added + changed + removed, 0)
    return Delta(added, changed, removed), replaced


def _differing(
    connection: postgres.Connection, index: LedgerIndex[Any], indexed: dict[str, bytes] | None
) -> Iterator[list[TupleRow]]:
    """Batches of the chunks that differ: id, whether it is gone, whether the index has it."""
    query = statement("postgres/search/indexes/differing_entries")
    bound = _key(index.generation, index.kind) if indexed is None else _arrays(indexed)
    text = query.replace("{entries}", _LEDGER if indexed is None else _GIVEN)
    size = VECTORS_AT_A_TIME if index.stores_vectors else TEXTS_AT_A_TIME
    return postgres.read_batches(connection, on_vectors(index.generation, text), bound, size=size)


def version(connection: postgres.Connection, generation: Generation, kind: str) -> str:
    """A hash over the chunk ids and revisions that the index holds by its ledger."""
    return _content(connection, _LEDGER, _key(generation, kind))


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
    batches = postgres.read_batches(connection, query, key, size=VECTORS_AT_A_TIME)
    return index.differing(
        _entries(connection, index, [name for (name,) in rows]) for rows in batches
    )


def forget_altered(connection: postgres.Connection, index: LedgerIndex[Any]) -> None:
    """Have the next sync write again what another hand changed, added or removed in the index."""
    key = _key(index.generation, index.kind)
    with exclusively(connection, index.generation, index.kind):
        _adopt(connection, key, dict(index.revisions()))
        bound = {**key, "chunk_ids": altered(connection, index)}
        connection.execute(statement("postgres/search/indexes/doubt_entries"), bound)


def forget_wear(connection: postgres.Connection, generation: Generation, kind: str) -> None:
    """Tell that the index was built anew; the next evaluation measures the generation again."""
    key = _key(generation, kind)
    connection.execute(statement("postgres/search/indexes/forget_wear"), key)


def erase(connection: postgres.Connection, index: LedgerIndex[Any], ids: Sequence[str]) -> int:
    """Remove chunks from an index of this host and from its ledger, and write its files anew.

    They are written whether it has the chunks or not: what was removed before may still lie in
    them. Returns how many it had. An index that is not as the ledger says gets no mark, so that the
    next sync compares it.
    """
    key = _key(index.generation, index.kind)
    with exclusively(connection, index.generation, index.kind), _alone(index), closing(index):
        recorded = connection.execute(statement("postgres/search/indexes/recorded"), key).fetchone()
        size = index.size()
        was_equal = recorded == (size, index.mark())
        held = [chunk_id for chunk_id, _ in index.revisions(ids)]
        if size:
            index.set_mark("")
            index.remove(held)
        _forget(connection, key, None, ids)
        if index.rewrite(_rewritten(connection, index)) and (
            was_equal or dict(index.revisions()) == _entered(connection, key)
        ):
            content = version(connection, index.generation, index.kind)
            index.set_mark(content if index.size() else "")
            bound = {**key, "mark": content, "worn": 0}
            connection.execute(statement("postgres/search/indexes/record_mark"), bound)
    return len(held)


def _rewritten(
    connection: postgres.Connection, index: LedgerIndex[Any]
) -> Iterator[Sequence[Entry]]:
    """The entries of all chunks of the ledger, which then says what they are."""
    key = _key(index.generation, index.kind)
    ids = [*_entered(connection, key)]
    for start in range(0, len(ids), TEXTS_AT_A_TIME):
        some = ids[start : start + TEXTS_AT_A_TIME]
        entries = _entries(connection, index, some)
        yield entries
        _record(connection, key, None, entries)
        _forget(connection, key, None, list({*some} - {entry.chunk_id for entry in entries}))


def _entered(connection: postgres.Connection, key: dict[str, Any]) -> dict[str, bytes]:
    return dict(connection.execute(sql.SQL(_LEDGER), key).fetchall())


def exclusively(
    connection: postgres.Connection, generation: Generation, kind: str
) -> AbstractContextManager[None]:
    """Be the only one, over all processes, who writes this index; wait for one's turn."""
    return exclusive(connection, f"ml_schema.search.{generation.generation_id}.{kind}")


def _alone(index: LedgerIndex[Any]) -> AbstractContextManager[object]:
    """Be the only one who writes the files of an index of this host; a server has locks itself."""
    if index.lock is None:
        return nullcontext()
    return locked(folder(index.lock.parent) / index.lock.name, PATIENCE)


def _adopt(
    connection: postgres.Connection, key: dict[str, Any], indexed: Mapping[str, bytes]
) -> None:
    """Let the ledger say what an index holds."""
    adopt = statement("postgres/search/indexes/adopt_entries")
    connection.execute(adopt, {**key, **_arrays(indexed)})


def _mark(index: LedgerIndex[Any], mark: str, written: Delta) -> None:
    if written.touched or index.mark() != mark:
        index.set_mark(mark)


def _content(connection: postgres.Connection, entries: str, bound: Mapping[str, Any]) -> str:
    query = statement("postgres/search/indexes/content_version").replace("{entries}", entries)
    [(content,)] = connection.execute(sql.SQL(query), bound).fetchall()
    return str(content)


def _arrays(indexed: Mapping[str, bytes]) -> dict[str, Any]:
    return {"chunk_ids": list(indexed), "revisions": list(indexed.values())}


def _entries(
    connection: postgres.Connection, index: LedgerIndex[Any], ids: Sequence[str]
) -> list[Entry]:
    """The entries of these chunks, with their vectors where the index stores them."""
    query = on_vectors(index.generation, statement("postgres/search/indexes/entries"))
    bound = {"chunk_ids": list(ids), "embeddings": index.stores_vectors}
    with connection.cursor(binary=True, row_factory=class_row(Entry)) as cursor:
        return cursor.execute(query, bound).fetchall()


def _record(
    connection: postgres.Connection,
    key: dict[str, Any],
    indexed: dict[str, bytes] | None,
    entries: Sequence[Entry],
) -> None:
    revisions = {entry.chunk_id: entry.revision for entry in entries}
    if indexed is not None:
        indexed.update(revisions)
        return
    record = statement("postgres/search/indexes/record_entries")
    connection.execute(record, {**key, **_arrays(revisions)})


def _forget(
    connection: postgres.Connection,
    key: dict[str, Any],
    indexed: dict[str, bytes] | None,
    gone: Sequence[str],
) -> None:
    if indexed is not None:
        for chunk_id in gone:
            del indexed[chunk_id]
        return
    forget = statement("postgres/search/indexes/forget_entries")
    connection.execute(forget, {**key, "chunk_ids": list(gone)})


def _key(generation: Generation, kind: str) -> dict[str, Any]:
    return {"generation_id": generation.generation_id, "index_kind": kind}
