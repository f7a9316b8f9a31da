"""Twenty documents in two spaces, and a measurement that passes every gate."""

import hashlib

from pgvector import HalfVector

from ml_assets.embeddings.refresh import ensure_space
from ml_assets.stores import postgres
from ml_assets_tests.fakes import HashEncoder, other_space
from ml_assets_tests.search.corpus import Doc

DOCS = {f"d{number}": Doc((f"text number {number}",), f"title {number}") for number in range(20)}
OLD = other_space()
GOOD = {
    "state": "1",
    "recall": {"pgvector": 1.0, "chroma": 1.0},
    "reached": {"pgvector": 1.0, "chroma": 1.0},
    "sampled": 20,
}


def embed_in_old_space(connection: postgres.Connection) -> None:
    ensure_space(connection, OLD)
    rows = connection.execute("select chunk_id, collection, text from chunks").fetchall()
    for chunk_id, collection, text in rows:
        connection.execute(
            "insert into document_embeddings (space_id, chunk_id, collection, text_hash, embedding)"
            " values (%s, %s, %s, %s, %s)",
            [
                OLD.space_id,
                chunk_id,
                collection,
                hashlib.sha256(text.encode()).digest(),
                HalfVector(HashEncoder(OLD).encode([text])[0]),
            ],
        )
