"""Documents, chunks and vectors written straight into the tables, without chunker or model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pgvector import HalfVector
from psycopg.types.json import Jsonb

from ml_assets.embeddings.space import VectorSpace
from ml_assets.search.filters.language import Scalar
from ml_assets.search.generation import ensure_generation
from ml_assets.search.indexes.contract import AnyIndex
from ml_assets.search.indexes.kinds import Indexes, index_parameters, sync_index
from ml_assets.search.model import CHUNKING, Generation, Parameters
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import CHUNKER, SPACE, HashEncoder, ensure_partitions


@dataclass(frozen=True)
class Doc:
    """A document, by its chunks."""

    chunks: tuple[str, ...]
    title: str = ""
    collection: str = "a"
    label: str | None = None
    created_at: datetime | None = None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


def put(connection: postgres.Connection, document_id: str, doc: Doc) -> None:
    """Write a document as the stages before search would: live, chunked and embedded."""
    ensure_partitions(connection)
    remove(connection, document_id)
    connection.execute(
        "insert into collections (collection, source, fingerprint) values (%s, 's', 'f')"
        " on conflict do nothing",
        [doc.collection],
    )
    connection.execute(
        "insert into documents (document_id, collection, title, text, label, group_id, metadata,"
        " content_hash, created_at) values (%s, %s, %s, %s, %s, '', %s, '', %s)",
        [
            document_id,
            doc.collection,
            doc.title,
            "\n".join(doc.chunks),
            doc.label,
            Jsonb(dict(doc.metadata)),
            doc.created_at,
        ],
    )
    connection.execute(
        "insert into chunked_documents (chunker, document_id, content_hash, chunk_count)"
        " values (%s, %s, '', %s)",
        [CHUNKER, document_id, len(doc.chunks)],
    )
    for index, text in enumerate(doc.chunks):
        _put_chunk(connection, document_id, index, text, doc.collection)


def remove(connection: postgres.Connection, document_id: str) -> None:
    """Make a document, its chunks and vectors vanish."""
    connection.execute(
        "delete from document_embeddings where chunk_id in"
        " (select chunk_id from chunks where document_id = %s)",
        [document_id],
    )
    connection.execute("delete from documents where document_id = %s", [document_id])


def fill(connection: postgres.Connection, docs: Mapping[str, Doc]) -> None:
    """Write several documents."""
    with connection.transaction():
        for document_id, doc in docs.items():
            put(connection, document_id, doc)


def generation_of(
    connection: postgres.Connection, settings: Settings, space: VectorSpace = SPACE
) -> Generation:
    """The generation of the settings, in the space of the tests."""
    ensure_partitions(connection, space)
    return ensure_generation(connection, space.space_id, parameters_of(settings))


def parameters_of(settings: Settings) -> Parameters:
    """The parameters of a generation over the chunks that a test writes itself."""
    return {**index_parameters(settings), CHUNKING: {"chunker": CHUNKER}}


def _put_chunk(
    connection: postgres.Connection, document_id: str, index: int, text: str, collection: str
) -> None:
    chunk_id, text_hash = f"{document_id}#{index}", hashlib.sha256(text.encode()).digest()
    connection.execute(
        "insert into chunks (chunker, created_at, chunk_id, document_id, collection, chunk_index,"
        " start_offset, end_offset, token_count, heading, text, text_hash)"
        " values (%s, '-infinity', %s, %s, %s, %s, 0, %s, 1, '', %s, %s)",
        [CHUNKER, chunk_id, document_id, collection, index, len(text), text, text_hash],
    )
    (vector,) = HashEncoder().encode([text])
    connection.execute(
        "insert into document_embeddings"
        " (space_id, chunker, created_at, chunk_id, collection, text_hash, embedding)"
        " values (%s, %s, '-infinity', %s, %s, %s, %s)",
        [SPACE.space_id, CHUNKER, chunk_id, collection, text_hash, HalfVector(vector)],
    )


def sync_all(connection: postgres.Connection, settings: Settings, generation: Generation) -> None:
    """Bring every index of a generation up to date."""
    with Indexes(settings).open_all(connection, generation) as opened:
        for index in opened.values():
            sync_index(connection, index)


def ids(index: AnyIndex) -> set[str]:
    """The chunks that the index itself holds."""
    return {chunk_id for chunk_id, _ in index.revisions()}
