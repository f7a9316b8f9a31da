"""Twenty documents in two spaces."""

import hashlib

from pgvector import HalfVector

from ml_assets.stores import postgres
from ml_assets_tests.fakes import CHUNKER, HashEncoder, ensure_partitions, other_space
from ml_assets_tests.search.corpus import Doc

DOCS = {f"d{number}": Doc((f"text number {number}",), f"title {number}") for number in range(20)}
OLD = other_space()


def embed_in_old_space(connection: postgres.Connection) -> None:
    ensure_partitions(connection, OLD)
    rows = connection.execute("select chunk_id, collection, text from chunks").fetchall()
    for chunk_id, collection, text in rows:
        connection.execute(
            "insert into document_embeddings"
            " (space_id, chunker, created_at, chunk_id, collection, text_hash, embedding)"
            " values (%s, %s, '-infinity', %s, %s, %s, %s)",
            [
                OLD.space_id,
                CHUNKER,
                chunk_id,
                collection,
                hashlib.sha256(text.encode()).digest(),
                HalfVector(HashEncoder(OLD).encode([text])[0]),
            ],
        )
