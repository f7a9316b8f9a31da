import pytest

from ml_assets.documents.model import Document
from ml_assets.embeddings.quality import SAMPLE, measure_fidelity
from ml_assets.embeddings.refresh import refresh_embeddings
from ml_assets.stores import postgres
from ml_assets_tests.embeddings.corpus import load_documents
from ml_assets_tests.fakes import SPACE, HashEncoder


def never() -> HashEncoder:
    pytest.fail("nothing was to be encoded")


def embed(connection: postgres.Connection, *documents: Document) -> None:
    names = load_documents(connection, *documents)
    refresh_embeddings(connection, SPACE, HashEncoder, names)


def test_the_newest_vectors_are_always_sampled(connection: postgres.Connection) -> None:
    old = [Document(f"d{n}", "a", f"Text {n}.") for n in range(3 * SAMPLE)]
    embed(connection, *old)
    found = measure_fidelity(connection, SPACE, HashEncoder)
    assert found.worst_cosine == pytest.approx(1, abs=1e-3)
    assert SAMPLE < found.sampled <= SAMPLE + 2, (
        "the tenth part of what came together, two at least"
    )
    embed(connection, *old, Document("newest", "a", "The newest."))
    connection.execute(
        "update document_embeddings set embedding = embedding - embedding - embedding"
        " where chunk_id = 'newest#0'"
    )
    found = measure_fidelity(connection, SPACE, HashEncoder)
    assert (found.worst_chunk, found.worst_cosine) == ("newest#0", pytest.approx(-1, abs=1e-3))


def test_only_what_is_new_in_the_sample_is_encoded_again(connection: postgres.Connection) -> None:
    embed(connection, Document("x", "a", "One."), Document("y", "a", "Two."))
    first = measure_fidelity(connection, SPACE, HashEncoder)
    assert first.sampled == 2
    assert measure_fidelity(connection, SPACE, never) == first
    embed(connection, Document("x", "a", "One edited."), Document("y", "a", "Two."))
    again = HashEncoder()
    assert measure_fidelity(connection, SPACE, lambda: again).worst_cosine > 0.99
    assert again.texts == ["One edited."]
    assert measure_fidelity(connection, SPACE, never).sampled == 2


def test_a_vector_of_zeros_is_as_far_as_can_be(connection: postgres.Connection) -> None:
    embed(connection, Document("x", "a", "One."))
    connection.execute("update document_embeddings set embedding = embedding - embedding")
    assert measure_fidelity(connection, SPACE, HashEncoder).worst_cosine == 0


def test_a_sampled_vector_that_was_altered_is_compared_anew(
    connection: postgres.Connection,
) -> None:
    embed(connection, Document("x", "a", "One."), Document("y", "a", "Two."))
    measure_fidelity(connection, SPACE, HashEncoder)
    connection.execute(
        "update document_embeddings set embedding = embedding - embedding - embedding"
        " where chunk_id = 'x#0'"
    )
    for load in (HashEncoder, never):  # the worst is remembered, too
        found = measure_fidelity(connection, SPACE, load)
        assert (found.worst_chunk, found.worst_cosine) == ("x#0", pytest.approx(-1, abs=1e-3))


def test_without_vectors_nothing_is_wrong(connection: postgres.Connection) -> None:
    embed(connection)
    found = measure_fidelity(connection, SPACE, never)
    assert (found.worst_cosine, found.sampled) == (1.0, 0)
