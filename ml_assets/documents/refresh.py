"""The row delta from a source to `documents`, and from `documents` to `chunks`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg.rows import dict_row

from ml_assets.delta import Delta
from ml_assets.documents.chunking import Chunker
from ml_assets.documents.collections import GONE
from ml_assets.documents.sources.base import Source
from ml_assets.documents.staging import create_staging, stage
from ml_assets.errors import SourceError
from ml_assets.progress import Progress, no_progress
from ml_assets.stores import postgres
from ml_assets.stores.postgres.partitions import (
    drop_empty_partitions,
    ensure_chunker_partition,
)
from ml_assets.stores.sql import statement

ALWAYS_REMOVABLE = 10
"""So many documents may leave a collection whatever fraction of it they are."""

_STAGED_CHUNK = (
    ("chunk_id", "text"),
    ("document_id", "text"),
    ("chunk_index", "int4"),
    ("start_offset", "int4"),
    ("end_offset", "int4"),
    ("token_count", "int4"),
    ("heading", "text"),
    ("text", "text"),
    ("text_hash", "bytea"),
)


@dataclass(frozen=True, slots=True)
class DocumentsReport:
    """The delta of each collection that was read, and why each of the others was not.

    `versions`: one hash per collection that was read over the content of its live documents.
    """

    deltas: dict[str, Delta]
    unread: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict, compare=False)


def read_deltas(
    connection: postgres.Connection, path: str, bound: Mapping[str, object] | None = None
) -> dict[str, Delta]:
    """Run a statement that counts by collection; what it does not count is 0."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement(path), bound).fetchall()
    return {row.pop("collection"): Delta(**row) for row in rows}


def refresh_documents(
    connection: postgres.Connection,
    source: Source,
    collections: Collection[str],
    *,
    max_removed_fraction: float = 0.5,
    run_id: str | None = None,
    progress: Progress = no_progress,
) -> DocumentsReport:
    """Make `documents` equal to what `source` holds of `collections`, in one transaction.

    Rows are staged and compared in SQL, so memory does not grow with the source. A
    collection that the source no longer has is emptied. One that cannot be read, or that would
    lose more than `max_removed_fraction`, stays as it is, and the reason is kept beside it.

    Raises:
        SourceError: the source cannot even say which collections it has.
    """
    present = source.collections()
    with connection.transaction():
        # One at a time: what is staged as unchanged must be so when the rest is written.
        connection.execute("select pg_advisory_xact_lock(hashtext('ml_schema.documents'))")
        create_staging(connection)
        unread = _stage_readable(
            connection, source, sorted(present.keys() & set(collections)), progress
        )
        staged = sorted(set(collections) - unread.keys())
        unread |= _refuse_emptying(connection, staged, max_removed_fraction)
        _save_unread(connection, source, unread)
        read = [name for name in staged if name not in unread]
        bound = {
            "source": source.name,
            "collections": read,
            "fingerprints": [present.get(name, GONE) for name in read],
            "heard": not present.keys().isdisjoint(staged),
            "run_id": run_id,
        }
        connection.execute(statement("postgres/documents/save_collections"), bound)
        removed = read_deltas(connection, "postgres/documents/remove_absent", bound)
        written = read_deltas(connection, "postgres/documents/upsert_staged", bound)
        connection.execute(statement("postgres/documents/replace_rejections"), bound)
        versions: dict[str, str] = dict(
            connection.execute(statement("postgres/documents/count_documents"), bound)
        )
    deltas = {name: written.get(name, Delta()) + removed.get(name, Delta()) for name in read}
    postgres.analyze(connection, "documents", sum(deltas.values(), Delta()).touched)
    return DocumentsReport(deltas, unread, versions)


def refresh_chunks(
    connection: postgres.Connection,
    chunker: Chunker,
    collections: Collection[str],
    *,
    batch: int = 500,
    run_id: str | None = None,
    progress: Progress = no_progress,
) -> dict[str, Delta]:
    """Make `chunks` equal to the chunks of the live documents of `collections`.

    Only documents whose content or chunker changed are cut again, `batch` of them to a
    transaction, so that a killed run loses one batch at most.
    """
    names = sorted(collections)
    bound = {"collections": names, "chunker": chunker.fingerprint}
    deltas = {name: Delta() for name in names}
    ensure_chunker_partition(connection, "chunks", chunker.fingerprint)
    with connection.transaction():
        connection.execute("drop table if exists misplaced_chunks")
        connection.execute(statement("postgres/documents/find_misplaced"), bound)
        connection.execute(statement("postgres/documents/follow_moves"))
        orphans = read_deltas(connection, "postgres/documents/remove_orphan_chunks")
        for name, delta in orphans.items():
            deltas[name] = deltas.get(name, Delta()) + delta
    connection.execute(statement("postgres/documents/create_chunk_staging"))
    done = 0
    pending = statement("postgres/documents/pending_chunks")
    for rows in postgres.read_batches(connection, pending, bound, size=batch):
        for name, delta in _apply_chunks(connection, chunker, rows, run_id).items():
            deltas[name] = deltas.get(name, Delta()) + delta
        done += len(rows)
        progress(done, 0)
    drop_empty_partitions(connection, "chunks")
    counts = connection.execute(statement("postgres/documents/chunk_versions"), bound)
    for name, count, _ in counts.fetchall():
        delta = deltas[name]
        deltas[name] = delta + Delta(unchanged=count - delta.added - delta.changed)
    postgres.analyze(connection, "chunks", sum(deltas.values(), Delta()).touched)
    return deltas


def chunk_versions(connection: postgres.Connection, collections: Collection[str]) -> dict[str, str]:
    """One hash per collection over its chunks."""
    bound = {"collections": sorted(collections)}
    rows = connection.execute(statement("postgres/documents/chunk_versions"), bound)
    return {name: version for name, _, version in rows.fetchall()}


def _stage_readable(
    connection: postgres.Connection, source: Source, names: list[str], progress: Progress
) -> dict[str, str]:
    """Stage the collections of `names` that can be read; return why the others cannot.

    All are read in one pass; when that fails, each in a pass of its own.
    """
    if not names:
        return {}
    try:
        with connection.transaction():
            stage(connection, source.read(names), progress)
    except SourceError as error:
        if len(names) == 1:
            return {names[0]: str(error)}
        alone = [_stage_readable(connection, source, [name], progress) for name in names]
        return {name: reason for unread in alone for name, reason in unread.items()}
    return {}


def _refuse_emptying(
    connection: postgres.Connection, names: list[str], most: float
) -> dict[str, str]:
    """Return why collections of `names` that would lose too large a part are not written."""
    bound = {"collections": names}
    counts = connection.execute(statement("postgres/documents/find_absent"), bound)
    return {
        collection: f"{lost} of {live} documents would be removed, more than"
        f" ML_ASSETS_MAX_REMOVED_FRACTION={most:g} allows. Check the source; to go ahead set"
        " ML_ASSETS_MAX_REMOVED_FRACTION=1, or use another ML_ASSETS_HOME for another source"
        for collection, live, lost in counts.fetchall()
        if lost > max(ALWAYS_REMOVABLE, most * live)
    }


def _save_unread(connection: postgres.Connection, source: Source, unread: dict[str, str]) -> None:
    connection.execute(
        statement("postgres/documents/save_unread"),
        {"source": source.name, "collections": [*unread], "reasons": [*unread.values()]},
    )


def _apply_chunks(
    connection: postgres.Connection,
    chunker: Chunker,
    documents: Sequence[Sequence[object]],
    run_id: str | None,
) -> dict[str, Delta]:
    cut = chunker.chunk_all([(str(title), str(text)) for _, title, text, _ in documents])
    staged = (
        (
            f"{document_id}#{chunk.index}",
            document_id,
            chunk.index,
            chunk.start,
            chunk.end,
            chunk.token_count,
            chunk.heading,
            chunk.text,
            chunk.text_hash,
        )
        for (document_id, *_), chunks in zip(documents, cut, strict=True)
        for chunk in chunks
    )
    names, types = zip(*_STAGED_CHUNK, strict=True)
    with connection.transaction():
        connection.execute("truncate staged_chunks, staged_sources")
        postgres.copy_rows(
            connection,
            "staged_sources",
            ("document_id", "content_hash"),
            ("text", "bytea"),
            ((row[0], row[3]) for row in documents),
        )
        postgres.copy_rows(connection, "staged_chunks", names, types, staged)
        return read_deltas(
            connection,
            "postgres/documents/apply_chunks",
            {"chunker": chunker.fingerprint, "run_id": run_id},
        )
