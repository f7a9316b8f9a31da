"""The row delta from a source to `documents`, and from `documents` to `chunks`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg.rows import class_row, dict_row

from ml_assets.delta import Delta
from ml_assets.documents.chunkers import follow_chunkers, followed_chunkers
from ml_assets.documents.chunking import Chunker
from ml_assets.documents.collections import GONE, UNSETTLED
from ml_assets.documents.model import headings_of
from ml_assets.documents.normalize import normalize
from ml_assets.documents.sources.base import Source, snapshot
from ml_assets.documents.staging import copy, stage
from ml_assets.errors import SourceError
from ml_assets.progress import Progress, no_progress
from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import DOCUMENTS, exclusive
from ml_assets.stores.sql import statement

_READINGS = 3
"""So often a source is read that is written meanwhile."""

ALWAYS_REMOVABLE = 3
"""So few documents may leave a collection whatever fraction of it they are."""

_BATCH = 500
"""Documents that are cut at a time."""

_SOURCE = {"document_id": "text", "content_hash": "bytea"}
_CHUNK = {
    **dict.fromkeys(("chunk_id", "document_id"), "text"),
    **dict.fromkeys(("chunk_index", "start_offset", "end_offset", "token_count"), "int4"),
    **dict.fromkeys(("heading", "text"), "text"),
    "path": "text[]",
    "text_hash": "bytea",
}


@dataclass(frozen=True, slots=True)
class DocumentsReport:
    """The delta of each collection that was read, and why each of the others was not.

    `versions`: one hash per collection that was read over the content of its live documents.
    """

    deltas: dict[str, Delta]
    unread: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Version:
    """How many rows of a collection a table has, and one hash over their content."""

    collection: str
    count: int
    content: str


@dataclass(frozen=True, slots=True)
class _Uncut:
    """A document without chunks of its present content."""

    document_id: str
    title: str
    text: str
    headings: Sequence[tuple[int, int, str]]
    content_hash: bytes


def read_deltas(
    connection: postgres.Connection, path: str, bound: Mapping[str, object] | None = None
) -> defaultdict[str, Delta]:
    """Run a statement that counts by collection; what it does not count is 0."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement(path), bound).fetchall()
    return defaultdict(Delta, {row.pop("collection"): Delta(**row) for row in rows})


def read_versions(
    connection: postgres.Connection, path: str, bound: Mapping[str, object]
) -> list[Version]:
    """Run a statement that counts and hashes by collection; empty collections may be absent."""
    with connection.cursor(row_factory=class_row(Version)) as cursor:
        return cursor.execute(statement(path), bound).fetchall()


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
    # One at a time: what is staged as unchanged must be so when the rest is written. The turn comes
    # before the transaction begins, whose time the changes have.
    with exclusive(connection, DOCUMENTS), connection.transaction():
        present, unread = _stage(connection, source, collections, progress)
        staged = sorted(set(collections) - unread.keys())
        unread |= _refuse_emptying(connection, staged, max_removed_fraction)
        read = [name for name in staged if name not in unread]
        bound = {
            "source": source.name,
            "unread": [*unread],
            "reasons": [*unread.values()],
            "collections": read,
            "fingerprints": [present.get(name, GONE) for name in read],
            "heard": not present.keys().isdisjoint(staged),
            "run_id": run_id,
        }
        connection.execute(statement("postgres/documents/save_unread"), bound)
        connection.execute(statement("postgres/documents/save_collections"), bound)
        removed = read_deltas(connection, "postgres/documents/remove_absent", bound)
        written = read_deltas(connection, "postgres/documents/upsert_staged", bound)
        connection.execute(statement("postgres/documents/replace_rejections"), bound)
        connection.execute(statement("postgres/documents/count_rejections"), bound)
        versions = read_versions(connection, "postgres/documents/count_documents", bound)
    deltas = {name: written[name] + removed[name] for name in read}
    postgres.analyze(connection, "documents", sum(deltas.values(), Delta()).touched)
    return DocumentsReport(deltas, unread, {row.collection: row.content for row in versions})


def refresh_chunks(
    connection: postgres.Connection,
    chunker: Chunker,
    collections: Collection[str],
    *,
    beside: Collection[Chunker] = (),
    run_id: str | None = None,
    progress: Progress = no_progress,
) -> dict[str, Delta]:
    """Make `chunks` equal to the chunks of the live documents of `collections`.

    Those of `chunker`, which is the current one from now on, and of the chunkers `beside` it, of
    which generations are kept. What any other one made of a document goes when that changes.

    Only documents whose content changed since a chunker cut them are cut again, a batch of them
    to a transaction, so that a killed run loses one batch at most.
    """
    names = sorted(collections)
    chunkers = {each.fingerprint: each for each in (chunker, *beside)}
    follow_chunkers(connection, chunker.fingerprint, list(chunkers))
    bound = {"collections": names, "chunkers": list(chunkers), "run_id": run_id}
    with connection.transaction():
        connection.execute("drop table if exists misplaced_chunks")
        connection.execute(statement("postgres/documents/find_misplaced"), bound)
        connection.execute(statement("postgres/documents/follow_moves"))
        deltas = read_deltas(connection, "postgres/documents/remove_orphan_chunks", bound)
    connection.execute(statement("postgres/documents/create_chunk_staging"))
    done = 0
    for identity, each in chunkers.items():
        own = {**bound, "chunker": identity}
        with connection.cursor("uncut", row_factory=class_row(_Uncut), withhold=True) as uncut:
            uncut.execute(statement("postgres/documents/pending_chunks"), own)
            while documents := uncut.fetchmany(_BATCH):
                for name, delta in _apply_chunks(connection, each, documents, own).items():
                    deltas[name] += delta
                done += len(documents)
                progress(done, 0)
    for row in read_versions(connection, "postgres/documents/chunk_versions", bound):
        delta = deltas[row.collection]
        deltas[row.collection] += Delta(unchanged=row.count - delta.added - delta.changed)
    postgres.analyze(connection, "chunks", sum(deltas.values(), Delta()).touched)
    return dict.fromkeys(names, Delta()) | deltas


def chunk_versions(connection: postgres.Connection, collections: Collection[str]) -> dict[str, str]:
    """One hash per collection over its chunks, of every chunker that follows."""
    bound = {"collections": sorted(collections), "chunkers": followed_chunkers(connection)}
    rows = read_versions(connection, "postgres/documents/chunk_versions", bound)
    return {row.collection: row.content for row in rows}


def _stage(
    connection: postgres.Connection,
    source: Source,
    collections: Collection[str],
    progress: Progress,
) -> tuple[dict[str, str], dict[str, str]]:
    """Stage the collections as the source holds them from one of its stamps to an equal one.

    Returns the fingerprints, and why the other collections cannot be read. What is written while it
    is read, and could not be held, is read again; at last it is taken as it was read, and left to
    be read again.
    """
    for _ in range(_READINGS):
        with snapshot(source) as held:
            before = held.stamp()
            present = held.collections()
            connection.execute(statement("postgres/documents/create_staging"))
            names = sorted(present.keys() & set(collections))
            unread = _stage_readable(connection, held, names, progress)
            if held.stamp() == before:
                return present, unread
    return dict.fromkeys(present, UNSETTLED), unread


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
            return {names[0]: normalize(str(error))}
        alone = [_stage_readable(connection, source, [name], progress) for name in names]
        return {name: reason for unread in alone for name, reason in unread.items()}
    return {}


def _refuse_emptying(
    connection: postgres.Connection, names: list[str], most: float
) -> dict[str, str]:
    """Return why collections of `names` that would lose too large a part are not written."""
    with connection.cursor(row_factory=dict_row) as cursor:
        bound = {"collections": names}
        rows = cursor.execute(statement("postgres/documents/find_absent"), bound).fetchall()
    return {
        row["collection"]: f"{row['lost']} of {row['live']} documents would be removed, more than"
        f" ML_ASSETS_MAX_REMOVED_FRACTION={most:g} allows. Check the source; to go ahead set"
        " ML_ASSETS_MAX_REMOVED_FRACTION=1, or use another ML_ASSETS_HOME for another source"
        for row in rows
        if row["lost"] > max(ALWAYS_REMOVABLE, most * row["live"])
    }


def _apply_chunks(
    connection: postgres.Connection,
    chunker: Chunker,
    documents: Sequence[_Uncut],
    bound: Mapping[str, object],
) -> dict[str, Delta]:
    """Cut these documents, and write the difference."""
    cut = chunker.chunk_all((it.title, it.text, headings_of(it.headings)) for it in documents)
    sources = ((document.document_id, document.content_hash) for document in documents)
    staged = (
        (
            f"{document.document_id}#{chunk.index}",
            document.document_id,
            chunk.index,
            chunk.start,
            chunk.end,
            chunk.token_count,
            chunk.heading,
            chunk.text,
            list(chunk.path),
            chunk.text_hash,
        )
        for document, chunks in zip(documents, cut, strict=True)
        for chunk in chunks
    )
    with connection.transaction():
        connection.execute("truncate staged_chunks, staged_sources")
        copy(connection, "staged_sources", _SOURCE, sources)
        copy(connection, "staged_chunks", _CHUNK, staged)
        return read_deltas(connection, "postgres/documents/apply_chunks", bound)
