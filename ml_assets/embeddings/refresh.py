"""The row delta from `chunks` to `document_embeddings`: equal texts are embedded once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from ml_assets.delta import Delta
from ml_assets.documents.chunkers import followed_chunkers, present_chunker
from ml_assets.documents.collections import uncut_collections
from ml_assets.documents.history import log_changes
from ml_assets.documents.refresh import read_deltas, read_versions
from ml_assets.documents.streams import as_done, batches, work_ahead
from ml_assets.embeddings.space import VectorSpace
from ml_assets.errors import SpaceMismatchError
from ml_assets.progress import Progress, no_progress
from ml_assets.stores import postgres
from ml_assets.stores.postgres import partitions
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.embeddings.encoder import Encoder

_BATCH = 512
"""Texts that are encoded and written at a time: enough that sorting all texts by length, for less
padding, gains nothing more."""


@dataclass(frozen=True)
class EmbeddingReport:
    """The delta of each collection, and how many texts were encoded and vectors reused.

    `versions`: one hash per collection over its chunk ids and the texts of their vectors.
    """

    deltas: dict[str, Delta]
    encoded: int
    reused: int
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Text:
    """A text without a vector, and how many of them there are in `total`."""

    text_hash: bytes
    embedded_text: str
    total: int


def partition_name(space_id: str, chunker: str | None = None) -> str:
    """The table that holds the vectors of one space, or those of the chunks of one chunker."""
    table = partitions.partition_name("document_embeddings", space_id)
    return partitions.partition_name(table, chunker) if chunker else table


def ensure_space(
    connection: postgres.Connection, space: VectorSpace, chunkers: Iterable[str] = ()
) -> None:
    """Register `space` and create its partition, and in it one for each of `chunkers`."""
    bound = {"space_id": space.space_id, "dimension": space.dimension}
    table = partition_name(space.space_id)
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ml_schema.embedding_spaces'))")
        definition = {**bound, "definition": Jsonb(space.definition)}
        connection.execute(statement("postgres/embeddings/register_space"), definition)
        if not partitions.exists(connection, table):
            query = sql.SQL(statement("postgres/embeddings/add_space"))
            connection.execute(query.format(partition=sql.Identifier(table), **bound))
        for chunker in chunkers:
            partitions.ensure_chunker_partition(connection, table, chunker)


def restore_space(connection: postgres.Connection, space: VectorSpace) -> None:
    """Take back what another hand did to the definition of a space, if it is registered."""
    bound = {"space_id": space.space_id, "dimension": space.dimension}
    definition = {**bound, "definition": Jsonb(space.definition)}
    connection.execute(statement("postgres/embeddings/restore_space"), definition)


def drop_vectors(connection: postgres.Connection, *, space_id: str = "", chunker: str = "") -> None:
    """Drop the vectors of one space, of the chunks of one chunker in every space, or of both."""
    spaces = connection.execute("select space_id from embedding_spaces").fetchall()
    for (each,) in spaces:
        if (space_id or each) == each and (space_id or chunker):
            table = sql.Identifier(partition_name(each, chunker or None))
            connection.execute(sql.SQL("drop table if exists {}").format(table))


def stale_collections(connection: postgres.Connection, chunker: str, space_id: str) -> list[str]:
    """The collections whose chunks or vectors are behind their documents, sorted."""
    query = statement("postgres/embeddings/stale_collections")
    bound = {"space_id": space_id, "chunkers": followed_chunkers(connection)}
    stale = {name for (name,) in connection.execute(query, bound)}
    return sorted(stale.union(uncut_collections(connection, chunker)))


def refresh_embeddings(
    connection: postgres.Connection,
    space: VectorSpace,
    load: Callable[[], Encoder],
    collections: Collection[str],
    *,
    run_id: str | None = None,
    progress: Progress = no_progress,
) -> EmbeddingReport:
    """Give every chunk of `collections` exactly one vector of `space`.

    Those of the chunkers that follow the documents. `load` is called only when a text must be
    encoded. A batch of texts is written to a transaction while the next ones are encoded, so that a
    killed run repeats two batches at most; of an encoder that has batches of its own, those it was
    at work on.

    Raises:
        SpaceMismatchError: the loaded encoder makes vectors of another space.
    """
    names, chunkers = sorted(collections), followed_chunkers(connection)
    bound = {"space_id": space.space_id, "collections": names, "chunkers": chunkers}
    ensure_space(connection, space, chunkers)
    find_pending(connection, space, names)
    with connection.transaction():
        connection.execute(statement("postgres/embeddings/follow_moves"), bound)
        moved = connection.execute(statement("postgres/embeddings/find_moved_to_space"), bound)
        ids = [document_id for (document_id,) in moved]
        log_changes(connection, "embeddings", ids, f"vector space {space.space_id}", run_id)
        pending = read_deltas(connection, "postgres/embeddings/pending_counts", bound)
        # Before the removal: text that moved within a document finds its vector in an old row.
        reused = connection.execute(statement("postgres/embeddings/reuse"), bound).rowcount
        connection.execute("drop table if exists orphaned_vectors")
        connection.execute(statement("postgres/embeddings/find_orphans"), bound)
        removed = read_deltas(connection, "postgres/embeddings/remove_orphans", bound)
    encoded, written = _encode_pending(connection, space, load, bound, progress)
    deltas = {name: pending[name] + removed[name] for name in names}
    rows = read_versions(connection, "postgres/embeddings/versions", bound)
    for row in rows:
        deltas[row.collection] += Delta(unchanged=row.count - pending[row.collection].total)
    postgres.analyze(
        connection, partition_name(space.space_id), sum(deltas.values(), Delta()).touched
    )
    versions = {row.collection: row.content for row in rows}
    return EmbeddingReport(deltas, encoded, reused + written - encoded, versions)


def forget_outdated_vectors(connection: postgres.Connection, space_id: str) -> int:
    """Delete the vectors of texts that were changed since, so that pgvector does not find them.

    `refresh_embeddings` replaces those of the current space only. Returns how many there were.
    """
    text = statement("postgres/embeddings/forget_outdated")
    return connection.execute(text, {"space_id": space_id}).rowcount


def find_pending(
    connection: postgres.Connection, space: VectorSpace, collections: Collection[str]
) -> None:
    """Note in `pending_vectors` the chunks of `collections` without the right vector of `space`."""
    bound = _of_followed(connection, space, collections)
    connection.execute("drop table if exists pending_vectors")
    connection.execute(statement("postgres/embeddings/find_pending"), bound)
    connection.execute("analyze pending_vectors")


def count_vectors(connection: postgres.Connection, space: VectorSpace) -> int:
    """How many vectors of `space` the chunks of the current chunker have."""
    text = statement("postgres/embeddings/count_current")
    bound = {"space_id": space.space_id, "chunker": present_chunker(connection)}
    return postgres.read_counts(connection, text, bound)["vectors"]


def count_encodings(
    connection: postgres.Connection, space: VectorSpace, collections: Collection[str]
) -> dict[str, int]:
    """What `refresh_embeddings` would do: texts to `encode`, their `tokens`, vectors to `reuse`."""
    bound = _of_followed(connection, space, collections)
    return postgres.read_counts(connection, statement("postgres/embeddings/plan"), bound)


def pending_tokens(connection: postgres.Connection, space: VectorSpace) -> int:
    """Tokens of the distinct texts, of those `find_pending` noted, without a vector of `space`."""
    text = statement("postgres/embeddings/pending_tokens")
    return postgres.read_counts(connection, text, {"space_id": space.space_id})["tokens"]


def _of_followed(
    connection: postgres.Connection, space: VectorSpace, collections: Collection[str]
) -> dict[str, object]:
    """What statements on the followed chunks of these collections take."""
    chunkers = followed_chunkers(connection)
    return {"space_id": space.space_id, "collections": sorted(collections), "chunkers": chunkers}


def _encode_pending(
    connection: postgres.Connection,
    space: VectorSpace,
    load: Callable[[], Encoder],
    bound: Mapping[str, object],
    progress: Progress,
) -> tuple[int, int]:
    """Encode the distinct texts without a vector; return (texts encoded, rows written)."""
    with connection.cursor("pending", row_factory=class_row(_Text), withhold=True) as pending:
        pending.execute(statement("postgres/embeddings/pending_texts"), bound)
        first = pending.fetchmany(_BATCH)
        if not first:
            return 0, 0
        encoder = load()
        made, wanted = encoder.space.space_id, space.space_id
        if made != wanted:
            raise SpaceMismatchError(
                f"the encoder makes vectors of space {made}, not {wanted}",
                where="ML_ASSETS_EMBEDDING_MODEL",
                do="The model's folder changed during the run: run again",
            )

        groups = chain([first], iter(lambda: pending.fetchmany(_BATCH), []))
        encoded = written = 0
        with closing(_encoded(encoder, groups)) as ahead:
            for rows, vectors in ahead:
                written += _write(connection, bound, rows, vectors)
                encoded += len(rows)
                progress(encoded, first[0].total)
    return encoded, written


def _encoded(
    encoder: Encoder, groups: Iterable[list[_Text]]
) -> Generator[tuple[list[_Text], NDArray[np.float32]]]:
    """Texts with their vectors, a batch at a time; the next ones are encoded meanwhile."""
    # What encodes takes long to import, and most runs encode nothing.
    from ml_assets.embeddings.encoder import ParallelEncoder

    if isinstance(encoder, ParallelEncoder):
        rows = chain.from_iterable(groups)
        cut = batches(rows, lambda row: encoder.weight(row.embedded_text), encoder.batch_weight)
        submit = encoder.submit
        return as_done(
            lambda batch: submit(_texts(batch)), cut, encoder.ahead, ordered=encoder.ordered
        )
    return work_ahead(lambda batch: encoder.encode(_texts(batch)), groups)


def _texts(rows: Iterable[_Text]) -> list[str]:
    return [row.embedded_text for row in rows]


def _write(
    connection: postgres.Connection,
    bound: Mapping[str, object],
    texts: Sequence[_Text],
    vectors: NDArray[np.float32],
) -> int:
    from pgvector import HalfVector

    from ml_assets.embeddings.quantization import to_float16

    with connection.transaction():
        connection.execute(statement("postgres/embeddings/create_staging"))
        halves = map(HalfVector, to_float16(vectors))
        rows = ((text.text_hash, half) for text, half in zip(texts, halves, strict=True))
        names, types = ("text_hash", "embedding"), ("bytea", "halfvec")
        postgres.copy_rows(connection, "staged_vectors", names, types, rows)
        inserted = connection.execute(statement("postgres/embeddings/insert_staged"), bound)
        return inserted.rowcount
