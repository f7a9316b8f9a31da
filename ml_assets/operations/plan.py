"""The plan of a run: it is done in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from ml_assets.delta import Delta
from ml_assets.documents.chunkers import count_followed
from ml_assets.documents.chunking import Chunker
from ml_assets.documents.collections import count_rows
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.documents.sources.base import Source
from ml_assets.documents.staging import shadow_unwritable
from ml_assets.embeddings.refresh import count_encodings
from ml_assets.embeddings.scripts import Unreadable, unreadable_documents
from ml_assets.embeddings.space import VectorSpace
from ml_assets.operations.pending import find_pending
from ml_assets.search.generation import chunkers_beside
from ml_assets.stores import postgres
from ml_assets.stores.postgres.locks import turn
from ml_assets.training.labels.names import labels_alike
from ml_assets.training.training_set import small_labels, untrainable


@dataclass(frozen=True, slots=True)
class Plan:
    """The row deltas of documents and chunks, texts to encode, their tokens, and vectors to copy.

    They count all documents and chunks: those of collections that are not read are unchanged.
    `unread`: why a collection cannot be read, and stays as it is. `vector_bytes`: what the new
    vectors take in the table, 2 bytes for each number. `unreadable`: documents in scripts that the
    model does not know.
    """

    collections: tuple[str, ...]
    unread: dict[str, str]
    documents: Delta
    chunks: Delta
    encode: int
    tokens: int
    reuse: int
    vector_bytes: int
    rejected: int
    small_labels: dict[str, int]
    alike_labels: list[tuple[str, ...]]
    no_model: str
    unreadable: Unreadable


def plan_refresh(
    connection: postgres.Connection,
    source: Source,
    chunker: Chunker,
    space: VectorSpace,
    *,
    max_removed_fraction: float = 0.5,
    notify: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Find what a run would do; nothing of it is kept, and nothing is encoded.

    It writes and is rolled back, so it is a turn: a run that is at work ends first. Who may only
    read writes to copies of the tables, which takes longer the more they hold.

    Raises:
        SourceError: the source cannot even say which collections it has.
    """
    find = partial(find_pending, connection, source, chunker, space)
    if not find().collections:
        return _nothing_to_do(connection, chunker, space)
    with turn(connection, notify), connection.transaction(force_rollback=True):
        names = find().collections
        if not names:
            return _nothing_to_do(connection, chunker, space)
        shadow_unwritable(connection)
        documents = refresh_documents(
            connection, source, names, max_removed_fraction=max_removed_fraction
        )
        beside = chunkers_beside(connection, chunker, space.space_id)
        chunks = refresh_chunks(connection, chunker, names, beside=beside)
        work = count_encodings(connection, space, names)
        counts, followed = count_rows(connection), count_followed(connection)
        after, (small, alike, no_model) = (counts["documents"], followed), _labels(connection)
        unreadable = unreadable_documents(connection, chunker, space)
    return Plan(
        tuple(names),
        documents.unread,
        _of_all(documents.deltas.values(), after[0]),
        _of_all(chunks.values(), after[1]),
        work["encode"],
        work["tokens"],
        work["reuse"],
        (work["encode"] + work["reuse"]) * space.dimension * 2,
        counts["rejected"],
        small,
        alike,
        no_model,
        unreadable,
    )


def _nothing_to_do(connection: postgres.Connection, chunker: Chunker, space: VectorSpace) -> Plan:
    counts = count_rows(connection)
    same = (Delta(unchanged=counts["documents"]), Delta(unchanged=count_followed(connection)))
    unreadable = unreadable_documents(connection, chunker, space)
    small, alike, no_model = _labels(connection)
    rejected = counts["rejected"]
    return Plan((), {}, *same, 0, 0, 0, 0, rejected, small, alike, no_model, unreadable)


def _labels(
    connection: postgres.Connection,
) -> tuple[dict[str, int], list[tuple[str, ...]], str]:
    small, _ = small_labels(connection)
    return small, labels_alike(connection), untrainable(connection)


def _of_all(deltas: Iterable[Delta], after: int) -> Delta:
    """The sum of the deltas, where what they do not speak of is unchanged, of all rows `after`."""
    delta = sum(deltas, Delta())
    return replace(delta, unchanged=after - delta.added - delta.changed)
