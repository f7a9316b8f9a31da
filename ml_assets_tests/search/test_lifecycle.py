"""What happens to generations: two are kept current, one is served."""

import hashlib

import pytest
from pgvector import HalfVector

from ml_assets.embeddings.refresh import ensure_space
from ml_assets.search.generation import ensure_generation, index_parameters, publish
from ml_assets.search.lifecycle import forget_outdated_vectors, generations_to_sync
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import SPACE, HashEncoder, other_space
from ml_assets_tests.search.corpus import Doc, fill, generation_of

DOCS = {f"d{number}": Doc((f"text number {number}",), f"title {number}") for number in range(20)}
OLD = other_space()


@pytest.fixture
def other(connection: postgres.Connection, settings: Settings) -> Generation:
    return generation_of(connection, settings.model_copy(update={"hnsw_m": 24}))


@pytest.fixture
def older(connection: postgres.Connection, settings: Settings) -> Generation:
    """A generation in another space, in which every chunk has a vector."""
    fill(connection, DOCS)
    embed_in_old_space(connection)
    return ensure_generation(connection, OLD.space_id, index_parameters(settings))


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


def test_the_served_generation_follows_beside_the_current_one(
    connection: postgres.Connection, generation: Generation, other: Generation
) -> None:
    def followed(current: Generation) -> list[str]:
        return [one.generation_id for one in generations_to_sync(connection, current)]

    assert followed(generation) == [generation.generation_id]
    publish(connection, generation.generation_id, {"state": "1"}, "ann", "first")
    assert followed(generation) == [generation.generation_id]
    assert followed(other) == [other.generation_id, generation.generation_id]


def test_vectors_of_a_text_that_was_changed_are_forgotten_in_the_old_space_alone(
    connection: postgres.Connection, older: Generation
) -> None:
    changed = hashlib.sha256(b"changed").digest()
    connection.execute("update chunks set text_hash = %s where chunk_id = 'd3#0'", [changed])
    assert forget_outdated_vectors(connection, older) == 1
    assert forget_outdated_vectors(connection, older) == 0
    left = connection.execute(
        "select space_id, count(*) from document_embeddings group by space_id"
    ).fetchall()
    assert dict(left) == {SPACE.space_id: 20, OLD.space_id: 19}
