"""What a source holds, in temporary tables: all ids and hashes, and the documents that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from psycopg.types.json import Jsonb

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import content_hash
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

_BATCH = 5_000
_BATCH_CHARACTERS = 8_000_000
"""Documents, and their characters, that are compared with the table at once."""

_KEY = (("document_id", "text"), ("collection", "text"), ("content_hash", "bytea"))
_DOCUMENT = (
    *_KEY,
    ("title", "text"),
    ("text", "text"),
    ("label", "text"),
    ("url", "text"),
    ("group_id", "text"),
    ("metadata", "jsonb"),
    ("created_at", "timestamptz"),
)
_REJECTED = tuple((name, "text") for name in ("collection", "location", "document_id", "reason"))


def create_staging(connection: postgres.Connection) -> None:
    """Create the temporary tables, or empty them."""
    connection.execute(statement("postgres/documents/create_staging"))


def stage(
    connection: postgres.Connection,
    rows: Iterable[Document | Rejected],
    progress: Callable[[int, int], None],
) -> None:
    """Stage the rows of a source; memory does not grow with the number of its documents.

    Of a document that is in the table as it is, only id and hash are sent: of 77,000 documents
    with 770 changed ones, 60 MB of texts stay here, which took 1 s to send and to store.
    """
    rejected: list[Rejected] = []
    count = 0
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="staging") as pool:
        staged: Future[None] | None = None
        for batch in _batches(rows, rejected):
            if staged:
                staged.result()
            # PostgreSQL compares a batch while the next one is read.
            staged = pool.submit(_stage_batch, connection, batch)
            count += len(batch)
            progress(count, 0)
        if staged:
            staged.result()
    _copy(
        connection,
        "staged_rejections",
        _REJECTED,
        ((row.collection, row.location, row.document_id, row.reason) for row in rejected),
    )
    progress(count, count)


def _batches(
    rows: Iterable[Document | Rejected], rejected: list[Rejected]
) -> Iterator[list[Document]]:
    """Yield the documents in batches; put what is no document into `rejected`."""
    batch: list[Document] = []
    size = 0
    for row in rows:
        if isinstance(row, Rejected):
            rejected.append(row)
            continue
        batch.append(row)
        size += len(row.text)
        if len(batch) == _BATCH or size > _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _stage_batch(connection: postgres.Connection, documents: Sequence[Document]) -> None:
    hashes = [content_hash(document) for document in documents]
    connection.execute("truncate staged_batch")
    keys = (
        (document.document_id, document.collection, digest)
        for document, digest in zip(documents, hashes, strict=True)
    )
    _copy(connection, "staged_batch", _KEY, keys)
    rows = connection.execute(statement("postgres/documents/stage_batch"))
    differing = {document_id for (document_id,) in rows}
    contents = (
        _content(document, digest)
        for document, digest in zip(documents, hashes, strict=True)
        if document.document_id in differing
    )
    if differing:
        _copy(connection, "staged_contents", _DOCUMENT, contents)


def _content(document: Document, digest: bytes) -> Sequence[object]:
    return (
        document.document_id,
        document.collection,
        digest,
        document.title,
        document.text,
        document.label,
        document.url,
        document.group or document.document_id,
        Jsonb(dict(document.metadata)),
        document.created_at,
    )


def _copy(
    connection: postgres.Connection,
    table: str,
    columns: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[object]],
) -> None:
    names, types = zip(*columns, strict=True)
    postgres.copy_rows(connection, table, names, types, rows)
