"""What becomes of the rows of a source: documents, each id once, and why others are none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from ml_assets.documents.formats.rows import Columns, Row, to_document
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.normalize import content_hash
from ml_assets.documents.sources.base import MAX_COLLECTIONS, UNATTRIBUTED
from ml_assets.errors import SourceError


def outcomes(
    rows: Iterable[tuple[str, Row | str]],
    columns: Columns,
    collection: str,
    max_bytes: int,
    where: str,
) -> Iterator[Document | Rejected]:
    """Yield every row, given with its place, as what becomes of it.

    Of two rows with one id the first is the document. `collection` is that of a source which no
    column splits.

    Raises:
        SourceError: no row can be used; it is said of `where`.
    """
    seen: dict[str, str] = {}
    first: Rejected | None = None
    for location, row in rows:
        if isinstance(row, str):
            outcome: Document | Rejected = Rejected(collection, location, row)
        else:
            outcome = to_document(row, columns, location, collection, max_bytes)
            if isinstance(outcome, Document):
                outcome = _unless_seen(outcome, row, columns, location, seen)
        if isinstance(outcome, Rejected):
            first = first or outcome
        yield outcome
    if seen:
        return
    if first is None:
        raise SourceError("no documents", where=where, do="Add one, or check the path")
    message = f"no row can be used; the first: {first.location}: {first.reason}"
    do = "Mend the rows, or name other columns, as in ?text=body"
    raise SourceError(message, where=where, do=do)


def _unless_seen(
    document: Document, row: Row, columns: Columns, location: str, seen: dict[str, str]
) -> Document | Rejected:
    """Return the document, or that it has the id of an earlier one."""
    identity = document.document_id
    earlier = seen.setdefault(identity, location)
    if earlier == location:
        return document
    what = f"the id {identity!r}" if columns.roles.get("id") in row else "the text"
    reason = f"{what} is that of an earlier row, {earlier}"
    return Rejected(document.collection, location, reason, identity)


def hash_collections(
    rows: Iterable[tuple[str, bytes]], begin: Callable[[], hashlib._Hash], where: str
) -> dict[str, str]:
    """Return one hash per collection, sorted: of its rows and of those that may belong to any.

    A row is given by its collection, or `UNATTRIBUTED`, and a hash.

    Their order is no part of it: a database gives its rows in any.

    Raises:
        SourceError: there are too many collections.
    """
    totals = {UNATTRIBUTED: 0}
    for collection, row_hash in rows:
        if collection not in totals:
            check_number(len(totals), where)
            totals[collection] = 0
        totals[collection] += int.from_bytes(row_hash)
    unattributed = totals.pop(UNATTRIBUTED)
    hashes = {}
    for name in sorted(totals):
        digest = begin()
        digest.update(f"{totals[name]} {unattributed}".encode())
        hashes[name] = digest.hexdigest()
    return hashes


def check_number(collections: int, where: str) -> None:
    """Stop a source that has more collections than there can be."""
    if collections > MAX_COLLECTIONS:
        do = "Choose a coarser collection_by, such as created_at:year"
        raise SourceError(f"more than {MAX_COLLECTIONS} collections", where=where, do=do)


def hashed(rows: Iterable[Document | Rejected]) -> Iterator[tuple[str, bytes]]:
    """Yield the collection of every row, and a hash of all that it says."""
    for row in rows:
        if isinstance(row, Document):
            said = row.document_id.encode() + b"\0" + content_hash(row)
        else:
            said = repr(row).encode()
        yield row.collection, hashlib.sha256(said).digest()
