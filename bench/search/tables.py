"""Rows of `documents`, `chunks` and `document_embeddings`, written by COPY as if a run had."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence

from pgvector import HalfVector
from psycopg import sql
from psycopg.types.json import Jsonb

from bench.search.real import Chunk
from bench.search.vectors import Matrix, Vectors
from ml_assets.documents.chunkers import follow_chunkers
from ml_assets.embeddings.refresh import ensure_space, partition_name
from ml_assets.embeddings.space import VectorSpace
from ml_assets.search.indexes.kinds import index_parameters
from ml_assets.search.model import CHUNKING, Parameters
from ml_assets.settings import Settings
from ml_assets.stores import postgres

PART = "part"
"""The key of the metadata by which the rows are filtered: 0 to 99, by chance."""

_COLLECTION = "bench"
_CHUNKER = "0" * 16
_CHUNKED = """
insert into chunked_documents (document_id, chunker, content_hash, chunk_count)
select document_id, chunker, content_hash, count(*)
from documents join chunks using (document_id)
group by document_id, chunker, content_hash
"""


def numbered(vectors: Vectors, texts: Sequence[Chunk]) -> Iterator[tuple[Chunk, Matrix]]:
    """Every row as a document of its own, `number` with the chunk `number#0`.

    Beyond the `texts` they are without text.
    """
    number = 0
    for block in vectors.blocks():
        for vector in block:
            told = texts[number] if number < len(texts) else None
            title, heading, text = (told.title, told.heading, told.text) if told else ("", "", "")
            yield Chunk(f"{number}#0", str(number), title, heading, text), vector
            number += 1


def fill(
    connection: postgres.Connection, space: VectorSpace, rows: Iterable[tuple[Chunk, Matrix]]
) -> int:
    """Write chunks with their vectors, in batches; return how many."""
    follow_chunkers(connection, _CHUNKER, [])
    ensure_space(connection, space, [_CHUNKER])
    connection.execute(
        "insert into collections (collection, source, fingerprint) values (%s, 'bench', '')",
        [_COLLECTION],
    )
    known: set[str] = set()
    count = 0
    for batch in _batches(rows, 20_000):
        with connection.transaction():
            _documents(connection, batch, known)
            _chunks(connection, batch)
            _vectors(connection, batch, partition_name(space.space_id), space.space_id)
        count += len(batch)
    connection.execute(_CHUNKED)  # otherwise every search would look at all of them
    for table in ("documents", "chunks", "chunked_documents", partition_name(space.space_id)):
        # Vacuumed, as a table is that was not just filled.
        connection.execute(sql.SQL("vacuum (analyze) {}").format(sql.Identifier(table)))
    return count


def parameters_of(connection: postgres.Connection, settings: Settings) -> Parameters:
    """The parameters of a generation of the chunks that are there."""
    [(chunker,)] = connection.execute("select chunker from chunkers where is_current").fetchall()
    return {**index_parameters(settings), CHUNKING: {"chunker": chunker}}


def _documents(
    connection: postgres.Connection, batch: Sequence[tuple[Chunk, Matrix]], known: set[str]
) -> None:
    new = {chunk.document_id: chunk for chunk, _ in batch if chunk.document_id not in known}
    known.update(new)
    postgres.copy_rows(
        connection,
        "documents",
        ("document_id", "collection", "title", "text", "group_id", "metadata", "content_hash"),
        ("text", "text", "text", "text", "text", "jsonb", "bytea"),
        (
            (one.document_id, _COLLECTION, one.title, "", "", Jsonb(_metadata(one)), b"")
            for one in new.values()
        ),
    )


def _metadata(chunk: Chunk) -> dict[str, int]:
    return {PART: zlib.crc32(chunk.document_id.encode()) % 100}


def _chunks(connection: postgres.Connection, batch: Sequence[tuple[Chunk, Matrix]]) -> None:
    columns = {
        "chunker": "text",
        "chunk_id": "text",
        "document_id": "text",
        "collection": "text",
        "chunk_index": "int4",
        "start_offset": "int4",
        "end_offset": "int4",
        "token_count": "int4",
        "heading": "text",
        "text": "text",
        "text_hash": "bytea",
    }
    rows = (
        (
            _CHUNKER,
            chunk.chunk_id,
            chunk.document_id,
            _COLLECTION,
            int(chunk.chunk_id.rpartition("#")[2]),
            0,
            max(1, len(chunk.text)),
            1,
            chunk.heading,
            chunk.text,
            _hash(chunk),
        )
        for chunk, _ in batch
    )
    postgres.copy_rows(connection, "chunks", tuple(columns), tuple(columns.values()), rows)


def _vectors(
    connection: postgres.Connection,
    batch: Sequence[tuple[Chunk, Matrix]],
    partition: str,
    space_id: str,
) -> None:
    postgres.copy_rows(
        connection,
        partition,
        ("space_id", "chunker", "chunk_id", "collection", "text_hash", "embedding"),
        ("text", "text", "text", "text", "bytea", "halfvec"),
        (
            (space_id, _CHUNKER, chunk.chunk_id, _COLLECTION, _hash(chunk), HalfVector(vector))
            for chunk, vector in batch
        ),
    )


def _hash(chunk: Chunk) -> bytes:
    return hashlib.sha256(f"{chunk.heading}\n{chunk.text}".encode()).digest()


def _batches(
    rows: Iterable[tuple[Chunk, Matrix]], size: int
) -> Iterator[list[tuple[Chunk, Matrix]]]:
    batch: list[tuple[Chunk, Matrix]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
