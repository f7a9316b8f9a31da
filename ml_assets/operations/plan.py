"""The plan of a run: it is done in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ml_assets.delta import Delta
from ml_assets.documents.chunking import Chunker
from ml_assets.documents.collections import count_rows
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.documents.sources.base import Source
from ml_assets.embeddings.refresh import count_encodings
from ml_assets.embeddings.space import VectorSpace
from ml_assets.operations.pending import find_pending
from ml_assets.stores import postgres


@dataclass(frozen=True, slots=True)
class Plan:
    """The row deltas of documents and chunks, texts to encode, and vectors to copy.

    They count all documents and chunks: those of collections that are not read are unchanged.
    `unread`: why a collection cannot be read, and stays as it is. `vector_bytes`: what the new
    vectors take in the table, 2 bytes for each number.
    """

    collections: tuple[str, ...]
    unread: dict[str, str]
    documents: Delta
    chunks: Delta
    encode: int
    reuse: int
    vector_bytes: int


def plan_refresh(
    connection: postgres.Connection,
    source: Source,
    chunker: Chunker,
    space: VectorSpace,
    *,
    max_removed_fraction: float = 0.5,
) -> Plan:
    """Find what a run would do; nothing of it is kept, and nothing is encoded.

    Raises:
        SourceError: the source cannot even say which collections it has.
    """
    names = find_pending(connection, source, chunker, space).collections
    stored = count_rows(connection)
    if not names:  # who may only read can be told so
        same = (Delta(unchanged=stored["documents"]), Delta(unchanged=stored["chunks"]))
        return Plan((), {}, *same, 0, 0, 0)
    with connection.transaction(force_rollback=True):
        documents = refresh_documents(
            connection, source, names, max_removed_fraction=max_removed_fraction
        )
        chunks = refresh_chunks(connection, chunker, names)
        encode, reuse = count_encodings(connection, space, names)
    return Plan(
        tuple(names),
        documents.unread,
        _of_all(documents.deltas.values(), stored["documents"]),
        _of_all(chunks.values(), stored["chunks"]),
        encode,
        reuse,
        (encode + reuse) * space.dimension * 2,
    )


def _of_all(deltas: Iterable[Delta], stored: int) -> Delta:
    """The sum of the deltas, where what they do not speak of is unchanged."""
    delta = sum(deltas, Delta())
    return replace(delta, unchanged=stored - delta.changed - delta.removed)
