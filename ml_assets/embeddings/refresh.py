"""The row delta from `chunks` to `document_embeddings`: equal texts are embedded once."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from ml_assets.delta import Delta
from ml_assets.documents.refresh import read_deltas
from ml_assets.embeddings.space import VectorSpace
from ml_assets.errors import SpaceMismatchError
from ml_assets.progress import Progress, no_progress
from ml_assets.stores import postgres
from ml_assets.stores.postgres import partitions
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ml_assets.embeddings.encoder import Encoder

BATCH = 512
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


def partition_name(space_id: str) -> str:
    """The table that holds the vectors of one space."""
    return partitions.partition_name("document_embeddings", space_id)


def ensure_space(
    connection: postgres.Connection, space: VectorSpace, chunkers: Iterable[str] = ()
) -> None:
    """Register `space` and create its partition, whose vectors all have its dimension.

    `chunkers` are those of which it gets vectors.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ml_schema.embedding_spaces'))")
        connection.execute(
            statement("postgres/embeddings/register_space"),
            {
                "space_id": space.space_id,
                "dimension": space.dimension,
                "definition": Jsonb(asdict(space)),
            },
        )
        table = partition_name(space.space_id)
        if not partitions.exists(connection, table):
            connection.execute(
                sql.SQL(statement("postgres/embeddings/add_space")).format(
                    partition=sql.Identifier(table),
                    dimension=sql.Literal(space.dimension),
                    space_id=sql.Literal(space.space_id),
                )
            )
        for chunker in chunkers:
            if not partitions.exists(connection, partitions.partition_name(table, chunker)):
                _drop_vector_indexes(connection, table)
                partitions.ensure_chunker_partition(connection, table, chunker)


def _drop_vector_indexes(connection: postgres.Connection, table: str) -> None:
    """Drop the indexes that would cover a new partition; the next sync builds them over its rows.

    Built over none, IVFFlat has no lists, and HNSW grows more slowly than it is built.
    """
    query = statement("postgres/embeddings/vector_indexes")
    for (name,) in connection.execute(query, {"table": table}).fetchall():
        connection.execute(sql.SQL("drop index {}").format(sql.Identifier(name)))


def stale_collections(connection: postgres.Connection, chunker: str, space_id: str) -> list[str]:
    """The collections whose chunks or vectors are behind their documents."""
    bound = {"chunker": chunker, "space_id": space_id}
    rows = connection.execute(statement("postgres/embeddings/stale_collections"), bound)
    return [name for (name,) in rows.fetchall()]


def refresh_embeddings(
    connection: postgres.Connection,
    space: VectorSpace,
    load: Callable[[], Encoder],
    collections: Collection[str],
    *,
    batch: int = BATCH,
    run_id: str | None = None,
    progress: Progress = no_progress,
) -> EmbeddingReport:
    """Give every chunk of `collections` exactly one vector of `space`.

    `load` is called only when a text must be encoded. `batch` texts are written to a transaction
    while the next ones are encoded, so that a killed run repeats two batches at most.

    Raises:
        SpaceMismatchError: the loaded encoder makes vectors of another space.
    """
    names = sorted(collections)
    bound: dict[str, object] = {"space_id": space.space_id, "collections": names}
    find_pending(connection, space, names)
    chunkers = connection.execute("select distinct chunker from pending_vectors").fetchall()
    ensure_space(connection, space, [chunker for (chunker,) in chunkers])
    with connection.transaction():
        connection.execute(statement("postgres/embeddings/follow_moves"), bound)
        connection.execute(
            statement("postgres/embeddings/log_new_space"), {**bound, "run_id": run_id}
        )
        pending = read_deltas(connection, "postgres/embeddings/pending_counts", bound)
        # Before the removal: text that moved within a document finds its vector in an old row.
        reused = connection.execute(statement("postgres/embeddings/reuse"), bound).rowcount
        removed = _remove_orphans(connection, bound)
    encoded, written = _encode_pending(connection, space, load, bound, batch, progress)
    table = partition_name(space.space_id)
    partitions.drop_empty_partitions(connection, table)
    totals = _totals(connection, space.space_id, names)
    deltas = {}
    for name in names:
        delta = pending.get(name, Delta())
        unchanged = totals.get(name, (0, ""))[0] - delta.total
        deltas[name] = delta + removed.get(name, Delta()) + Delta(unchanged=unchanged)
    postgres.analyze(connection, table, sum(deltas.values(), Delta()).touched)
    versions = {name: version for name, (_, version) in totals.items()}
    return EmbeddingReport(deltas, encoded, reused + written - encoded, versions)


def find_pending(
    connection: postgres.Connection, space: VectorSpace, collections: Collection[str]
) -> None:
    """Note in `pending_vectors` the chunks of `collections` without the right vector of `space`."""
    bound = {"space_id": space.space_id, "collections": sorted(collections)}
    connection.execute("drop table if exists pending_vectors")
    connection.execute(statement("postgres/embeddings/find_pending"), bound)
    connection.execute("analyze pending_vectors")


def count_vectors(connection: postgres.Connection, space: VectorSpace) -> int:
    """How many vectors of `space` there are."""
    text = "select count(*) as vectors from document_embeddings where space_id = %s"
    return postgres.read_counts(connection, text, [space.space_id])["vectors"]


def count_encodings(
    connection: postgres.Connection, space: VectorSpace, collections: Collection[str]
) -> tuple[int, int]:
    """How many texts `refresh_embeddings` would encode, and how many vectors it would reuse."""
    bound = {"space_id": space.space_id, "collections": sorted(collections)}
    row = connection.execute(statement("postgres/embeddings/plan"), bound).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def pending_tokens(connection: postgres.Connection, space: VectorSpace) -> int:
    """Tokens of the distinct texts, of those `find_pending` noted, without a vector of `space`."""
    text = statement("postgres/embeddings/pending_tokens")
    return postgres.read_counts(connection, text, {"space_id": space.space_id})["tokens"]


def _encode_pending(
    connection: postgres.Connection,
    space: VectorSpace,
    load: Callable[[], Encoder],
    bound: Mapping[str, object],
    batch: int,
    progress: Progress,
) -> tuple[int, int]:
    """Encode the distinct texts without a vector; return (texts encoded, rows written)."""
    pending = statement("postgres/embeddings/pending_texts")
    encoded = written = 0
    with (
        closing(postgres.read_batches(connection, pending, bound, size=batch)) as batches,
        closing(_encode_ahead(batches, load, space)) as ahead,
    ):
        for rows, vectors in ahead:
            hashes = [text_hash for text_hash, _, _ in rows]
            written += _write(connection, bound, hashes, vectors)
            encoded += len(rows)
            progress(encoded, rows[0][2])
    return encoded, written


def _encode_ahead(
    batches: Iterable[list[TupleRow]], load: Callable[[], Encoder], space: VectorSpace
) -> Generator[tuple[list[TupleRow], NDArray[np.float32]]]:
    """Encode while the batch before is written and the next is read; at most two wait."""
    encoder: Encoder | None = None
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder") as pool:
        ahead: deque[tuple[list[TupleRow], Future[NDArray[np.float32]]]] = deque()
        try:
            for rows in batches:
                encoder = encoder or _load_of_space(load, space)
                ahead.append((rows, pool.submit(encoder.encode, [text for _, text, _ in rows])))
                if len(ahead) > 1:
                    done, vectors = ahead.popleft()
                    yield done, vectors.result()
            for done, vectors in ahead:
                yield done, vectors.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _load_of_space(load: Callable[[], Encoder], space: VectorSpace) -> Encoder:
    encoder = load()
    if encoder.space.space_id != space.space_id:
        raise SpaceMismatchError(
            f"the encoder makes vectors of space {encoder.space.space_id}, not {space.space_id}",
            where="ML_ASSETS_EMBEDDING_MODEL",
            do="The model's folder changed during the run: run again",
        )
    return encoder


def _write(
    connection: postgres.Connection,
    bound: Mapping[str, object],
    hashes: Sequence[bytes],
    vectors: NDArray[np.float32],
) -> int:
    from pgvector import HalfVector

    from ml_assets.embeddings.quantization import to_float16

    with connection.transaction():
        connection.execute(statement("postgres/embeddings/create_staging"))
        postgres.copy_rows(
            connection,
            "staged_vectors",
            ("text_hash", "embedding"),
            ("bytea", "halfvec"),
            zip(hashes, map(HalfVector, to_float16(vectors)), strict=True),
        )
        inserted = connection.execute(statement("postgres/embeddings/insert_staged"), bound)
        return inserted.rowcount


def _remove_orphans(
    connection: postgres.Connection, bound: Mapping[str, object]
) -> dict[str, Delta]:
    """Remove the vectors whose chunk is gone; count those of the space by collection."""
    connection.execute("drop table if exists orphaned_vectors")
    connection.execute(statement("postgres/embeddings/find_orphans"), bound)
    return read_deltas(connection, "postgres/embeddings/remove_orphans", bound)


def _totals(
    connection: postgres.Connection, space_id: str, collections: Collection[str]
) -> dict[str, tuple[int, str]]:
    """How many vectors each collection has, and their version: one scan tells both."""
    bound = {"space_id": space_id, "collections": sorted(collections)}
    rows = connection.execute(statement("postgres/embeddings/versions"), bound)
    return {name: (count, version) for name, count, version in rows.fetchall()}
