"""What a source holds, in temporary tables: all ids and hashes, and the documents that differ.

For a plan of one who may only read, the tables themselves are copied there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from psycopg.types.json import Jsonb

from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import content_hash, normalize
from ml_assets.documents.streams import batches, work_ahead
from ml_assets.progress import Progress
from ml_assets.releases.forgotten import REASON, Forgotten, digest, read_forgotten
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

BATCH_CHARACTERS = 8_000_000
"""Characters of documents that are compared with the table at once."""

ROW_CHARACTERS = 1_600
"""A row counts as so many at least: a batch has 5,000 rows or fewer."""

_KEY = {"document_id": "text", "collection": "text", "content_hash": "bytea"}
_DOCUMENT = {
    **_KEY,
    **dict.fromkeys(("title", "text", "label", "url", "group_id"), "text"),
    "metadata": "jsonb",
    "created_at": "timestamptz",
    "headings": "jsonb",
}
_REJECTED = dict.fromkeys(("collection", "location", "document_id", "reason"), "text")


def stage(
    connection: postgres.Connection, rows: Iterable[Document | Rejected], progress: Progress
) -> None:
    """Stage the rows of a source; memory does not grow with their number.

    Of a document that is in the table as it is, only id and hash are sent, and not its text.
    PostgreSQL compares a batch while the next one is read. What was forgotten is rejected.
    """
    if forgotten := read_forgotten(connection):
        rows = (_unless_forgotten(row, forgotten) for row in rows)
    count = 0
    staged = work_ahead(
        lambda batch: _stage_batch(connection, batch), batches(rows, _weight, BATCH_CHARACTERS)
    )
    for _, documents in staged:
        count += documents
        progress(count, 0)
    progress(count, count)


def _unless_forgotten(row: Document | Rejected, forgotten: Forgotten) -> Document | Rejected:
    """The row, or where it stands and that it was forgotten, without its id."""
    identity = row.document_id or ""
    is_forgotten = (
        forgotten.has(identity, row.text)
        if isinstance(row, Document)
        else bool(identity) and forgotten.has_id(identity)
    )
    if not is_forgotten:
        return row
    place = row.location
    if not place or identity in place:
        # The name of a file is often the id: then a hash of that tells one row from another.
        shown = digest(forgotten.salt, "id", identity).hex()[:8]
        place = f"{place.replace(identity, '…') or 'a row'} ({shown})"
    return Rejected(row.collection, place, REASON)


def _weight(row: Document | Rejected) -> int:
    return max(ROW_CHARACTERS, len(row.text) if isinstance(row, Document) else 0)


def _stage_batch(connection: postgres.Connection, rows: Sequence[Document | Rejected]) -> int:
    """Stage these rows; return how many of them are documents."""
    rejected = [row for row in rows if isinstance(row, Rejected)]
    copy(connection, "staged_rejections", _REJECTED, map(_storable, rejected))
    hashed = [(row, content_hash(row)) for row in rows if isinstance(row, Document)]
    connection.execute("truncate staged_batch")
    keys = ((row.document_id, row.collection, digest) for row, digest in hashed)
    copy(connection, "staged_batch", _KEY, keys)
    differing = {
        document_id
        for (document_id,) in connection.execute(statement("postgres/documents/stage_batch"))
    }
    contents = (_content(*pair) for pair in hashed if pair[0].document_id in differing)
    copy(connection, "staged_contents", _DOCUMENT, contents)
    return len(hashed)


def _storable(row: Rejected) -> Sequence[str | None]:
    """Reasons quote what was read, which PostgreSQL cannot hold in every case."""
    values = attrgetter(*_REJECTED)(row)
    return [value if value is None else normalize(value) for value in values]


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
        Jsonb(document.headings),
    )


def copy(
    connection: postgres.Connection,
    table: str,
    columns: Mapping[str, str],
    rows: Iterable[Sequence[object]],
) -> None:
    """Write rows to a table, of which `columns` gives names and types in the order of the rows."""
    postgres.copy_rows(connection, table, tuple(columns), tuple(columns.values()), rows)


def shadow_unwritable(connection: postgres.Connection) -> None:
    """Let one who may only read write to copies of all tables, until its transaction ends."""
    if connection.execute(statement("postgres/documents/may_write")).fetchone() == (False,):
        connection.execute(statement("postgres/documents/shadow"))
