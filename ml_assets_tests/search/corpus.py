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
    fill(connection, {document_id: doc})


def remove(connection: postgres.Connection, *document_ids: str) -> None:
    """Make documents, their chunks and vectors vanish."""
    connection.execute(
        "delete from document_embeddings where chunk_id in"
        " (select chunk_id from chunks where document_id = any(%s))",
        [[*document_ids]],
    )
    connection.execute("delete from documents where document_id = any(%s)", [[*document_ids]])


def fill(connection: postgres.Connection, docs: Mapping[str, Doc]) -> None:
    """Write several documents, each statement for all of them at once."""
    chunks = [
        (document_id, doc.collection, index, text, hashlib.sha256(text.encode()).digest())
        for document_id, doc in docs.items()
        for index, text in enumerate(doc.chunks)
    ]
    vectors = HashEncoder().encode([text for *_, text, _ in chunks])
    with connection.transaction(), connection.cursor() as cursor:
        ensure_partitions(connection)
        remove(connection, *docs)
        cursor.executemany(
            "insert into collections (collection, source, fingerprint) values (%s, 's', 'f')"
            " on conflict do nothing",
            [(name,) for name in sorted({doc.collection for doc in docs.values()})],
        )
        cursor.executemany(
            "insert into documents (document_id, collection, title, text, label, group_id,"
            " metadata, content_hash, created_at) values (%s, %s, %s, %s, %s, '', %s, '', %s)",
            [
                (
                    document_id,
                    doc.collection,
                    doc.title,
                    "\n".join(doc.chunks),
                    doc.label,
                    Jsonb(dict(doc.metadata)),
                    doc.created_at,
                )
                for document_id, doc in docs.items()
            ],
        )
        cursor.executemany(
            "insert into chunked_documents (chunker, document_id, content_hash, chunk_count)"
            f" values ('{CHUNKER}', %s, '', %s)",
            [(document_id, len(doc.chunks)) for document_id, doc in docs.items()],
        )
        cursor.executemany(
            "insert into chunks (chunker, created_at, chunk_id, document_id, collection,"
            " chunk_index, start_offset, end_offset, token_count, heading, text, text_hash)"
            f" values ('{CHUNKER}', '-infinity', %s, %s, %s, %s, 0, %s, 1, '', %s, %s)",
            [
                (f"{document_id}#{index}", document_id, collection, index, len(text), text, hashed)
                for document_id, collection, index, text, hashed in chunks
            ],
        )
        cursor.executemany(
            "insert into document_embeddings"
            " (space_id, chunker, created_at, chunk_id, collection, text_hash, embedding)"
            f" values ('{SPACE.space_id}', '{CHUNKER}', '-infinity', %s, %s, %s, %s)",
            [
                (f"{document_id}#{index}", collection, hashed, HalfVector(vector))
                for (document_id, collection, index, _, hashed), vector in zip(
                    chunks, vectors, strict=True
                )
            ],
        )


def generation_of(
    connection: postgres.Connection, settings: Settings, space: VectorSpace = SPACE
) -> Generation:
    """The generation of the settings, in the space of the tests."""
    ensure_partitions(connection, space)
    return ensure_generation(connection, space.space_id, parameters_of(settings))


def parameters_of(settings: Settings) -> Parameters:
    """The parameters of a generation over the chunks that a test writes itself."""
    return {**index_parameters(settings), CHUNKING: {"chunker": CHUNKER}}


def sync_all(connection: postgres.Connection, settings: Settings, generation: Generation) -> None:
    """Bring every index of a generation up to date."""
    with Indexes(settings).open_all(connection, generation) as opened:
        for index in opened.values():
            sync_index(connection, index)


def ids(index: AnyIndex) -> set[str]:
    """The chunks that the index itself holds."""
    return {chunk_id for chunk_id, _ in index.revisions()}
