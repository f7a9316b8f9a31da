from collections.abc import Sequence

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg.rows import TupleRow

from ml_assets.delta import Delta
from ml_assets.documents.model import Document
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.embeddings.refresh import (
    ensure_space,
    find_pending,
    partition_name,
    pending_tokens,
    refresh_embeddings,
    stale_collections,
)
from ml_assets.embeddings.space import VectorSpace
from ml_assets.errors import SpaceMismatchError
from ml_assets.operations import pending as work
from ml_assets.stores import postgres
from ml_assets_tests.embeddings.corpus import CHUNKER, load_documents
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource, other_space


@pytest.fixture(autouse=True)
def batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two texts each, so that there are several."""
    monkeypatch.setattr("ml_assets.embeddings.refresh._BATCH", 2)


def total(connection: postgres.Connection, encoder: HashEncoder, names: list[str]) -> Delta:
    report = refresh_embeddings(connection, encoder.space, lambda: encoder, names)
    return sum(report.deltas.values(), Delta())


def rows_of(connection: postgres.Connection, space: VectorSpace) -> list[TupleRow]:
    return connection.execute(
        "select e::text from document_embeddings e where space_id = %s order by chunk_id",
        [space.space_id],
    ).fetchall()


def assert_exact(connection: postgres.Connection, encoder: HashEncoder) -> None:
    """Every live chunk has exactly the vector of its text, and no other vector exists."""
    rows = connection.execute(
        "select chunk_id, c.collection, c.heading, c.text, e.collection, e.embedding"
        " from chunks c full join (select * from document_embeddings where space_id = %s) e"
        " using (chunk_id)",
        [encoder.space.space_id],
    ).fetchall()
    for chunk_id, collection, heading, text, stored_collection, embedding in rows:
        assert collection == stored_collection, chunk_id
        expected = HashEncoder(encoder.space).encode([f"{heading}\n{text}" if heading else text])
        np.testing.assert_allclose(embedding.to_numpy(), expected[0], atol=1e-3)


def test_every_chunk_gets_the_vector_of_its_text(connection: postgres.Connection) -> None:
    encoder = HashEncoder()
    names = load_documents(connection, Document("x", "a", "One."), Document("y", "a", "Two."))
    assert total(connection, encoder, names) == Delta(added=2)
    assert_exact(connection, encoder)
    assert total(connection, encoder, names) == Delta(unchanged=2)
    load_documents(connection, Document("x", "a", "One edited."))
    assert total(connection, encoder, names) == Delta(0, 1, 1, 0)
    assert_exact(connection, encoder)


def test_vectors_are_written_in_the_order_of_a_hash(connection: postgres.Connection) -> None:
    names = load_documents(
        connection, *(Document(f"d{n:02}", "a", "e" * n + "nd.") for n in range(20))
    )
    total(connection, HashEncoder(), names)
    rows = connection.execute("select text_hash from document_embeddings order by ctid").fetchall()
    hashes = [text_hash for (text_hash,) in rows]
    assert [set(hashes[at : at + 2]) for at in range(0, 20, 2)] == [
        set(sorted(hashes)[at : at + 2]) for at in range(0, 20, 2)
    ]


def test_equal_texts_are_encoded_once(connection: postgres.Connection) -> None:
    encoder = HashEncoder()
    names = load_documents(connection, *(Document(f"x{n}", "a", "Same.") for n in range(5)))
    report = refresh_embeddings(connection, SPACE, lambda: encoder, names)
    assert (report.encoded, report.reused) == (1, 4)
    names = load_documents(
        connection,
        *(Document(f"x{n}", "a", "Same.") for n in range(5)),
        Document("z", "b", "Same."),
    )
    report = refresh_embeddings(connection, SPACE, lambda: encoder, names)
    assert (report.encoded, report.reused) == (0, 1)
    assert encoder.texts == ["Same."]
    assert_exact(connection, encoder)


def test_text_that_moves_keeps_its_vector(connection: postgres.Connection) -> None:
    encoder = HashEncoder()
    text = "\n\n".join(f"Paragraph {n} of nine words that fill it up well." for n in "abcdef")
    names = load_documents(connection, Document("x", "a", text), Document("k", "b", "Keep."))
    total(connection, encoder, names)
    encoder.texts.clear()
    without_first = text.split("\n\n", 1)[1]
    load_documents(connection, Document("x", "b", without_first), Document("k", "b", "Keep."))
    total(connection, encoder, names)
    assert encoder.texts == []
    assert_exact(connection, encoder)


def test_the_heading_is_embedded_with_the_text(connection: postgres.Connection) -> None:
    encoder = HashEncoder()
    titled = Document("x", "a", "One.", title="A title")
    names = load_documents(connection, titled, Document("y", "a", "One."))
    total(connection, encoder, names)
    assert sorted(encoder.texts) == ["A title\nOne.", "One."]
    assert_exact(connection, encoder)


def test_vectors_follow_a_document_that_only_moved(connection: postgres.Connection) -> None:
    encoder = HashEncoder()
    names = load_documents(connection, Document("x", "a", "One."), Document("y", "b", "Two."))
    total(connection, encoder, names)
    before = rows_of(connection, SPACE)
    load_documents(connection, Document("x", "b", "One."), Document("y", "b", "Two."))
    assert total(connection, encoder, names) == Delta(unchanged=2)
    assert_exact(connection, encoder)
    assert [row[3:] for row in rows_of(connection, SPACE)] == [row[3:] for row in before]
    assert stale_collections(connection, CHUNKER.fingerprint, SPACE.space_id) == []


def test_a_vector_of_an_older_space_whose_chunk_is_gone_is_stale(
    connection: postgres.Connection,
) -> None:
    older = HashEncoder(other_space())
    names = load_documents(connection, Document("x", "a", "One."), Document("y", "a", "Two."))
    total(connection, older, names)
    total(connection, HashEncoder(), names)
    # As a run leaves it that was killed after it had removed the vectors of the newer space.
    connection.execute("delete from chunks where document_id = 'x'")
    connection.execute(
        "delete from document_embeddings where chunk_id = 'x#0' and space_id = %s", [SPACE.space_id]
    )
    load_documents(connection, Document("y", "a", "Two."))
    assert stale_collections(connection, CHUNKER.fingerprint, SPACE.space_id) == ["a"]
    assert total(connection, HashEncoder(), names) == Delta(unchanged=1)
    assert stale_collections(connection, CHUNKER.fingerprint, SPACE.space_id) == []
    assert_exact(connection, older)


def test_nothing_to_do_loads_no_model(connection: postgres.Connection) -> None:
    names = load_documents(connection, Document("x", "a", "One."))
    total(connection, HashEncoder(), names)
    report = refresh_embeddings(connection, SPACE, pytest.fail, names)
    assert report.encoded == 0


def test_an_interrupted_run_keeps_what_it_committed(connection: postgres.Connection) -> None:
    names = load_documents(connection, *(Document(f"x{n}", "a", f"Text {n}.") for n in range(6)))

    class Dying(HashEncoder):
        def encode(self, texts: object) -> object:  # type: ignore[override]
            if len(self.texts) >= 4:
                raise KeyboardInterrupt
            return super().encode(texts)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        total(connection, Dying(), names)
    encoder = HashEncoder()
    total(connection, encoder, names)
    assert len(encoder.texts) == 2
    assert_exact(connection, encoder)


def test_spaces_never_mix(connection: postgres.Connection) -> None:
    names = load_documents(connection, Document("x", "a", "One."))
    first, second = HashEncoder(), HashEncoder(other_space())
    total(connection, first, names)
    assert stale_collections(connection, CHUNKER.fingerprint, SPACE.space_id) == []
    assert stale_collections(connection, CHUNKER.fingerprint, second.space.space_id) == ["a"]
    before = rows_of(connection, SPACE)
    assert before
    total(connection, second, names)
    assert_exact(connection, second)
    assert rows_of(connection, SPACE) == before
    load_documents(connection, Document("x", "a", "Changed."))
    with pytest.raises(SpaceMismatchError, match="the encoder makes vectors of space"):
        refresh_embeddings(connection, SPACE, lambda: second, names)


def test_a_partition_refuses_another_dimension(connection: postgres.Connection) -> None:
    names = load_documents(connection, Document("x", "a", "One."))
    total(connection, HashEncoder(), names)
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(f"update {partition_name(SPACE.space_id)} set embedding = '[1,2,3]'")


@pytest.mark.parametrize("stage", ["documents", "chunks"])
def test_a_run_killed_after_a_removal_is_finished_by_the_next(
    connection: postgres.Connection, stage: str
) -> None:
    encoder = HashEncoder()
    names = load_documents(connection, Document("x", "a", "One."), Document("y", "b", "Two."))
    total(connection, encoder, names)
    source = MemorySource([Document("y", "b", "Two.")])
    refresh_documents(connection, source, ["a"], max_removed_fraction=1)
    if stage == "chunks":
        refresh_chunks(connection, CHUNKER, ["a"])
    wanted = work.find_pending(connection, source, CHUNKER, SPACE).collections
    assert wanted == ["a"]
    refresh_chunks(connection, CHUNKER, wanted)
    assert total(connection, encoder, wanted).removed == 1
    assert_exact(connection, encoder)
    assert work.find_pending(connection, source, CHUNKER, SPACE).collections == []


def test_what_was_encoded_before_a_failure_is_kept(connection: postgres.Connection) -> None:
    class Failing(HashEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if len(self.texts) == 6:
                raise OSError("the GPU is gone")
            return super().encode(texts)

    names = load_documents(connection, *(Document(f"d{n}", "a", f"Text {n}.") for n in range(9)))
    failing = Failing()
    with pytest.raises(OSError, match="the GPU is gone"):
        refresh_embeddings(connection, SPACE, lambda: failing, names)
    encoder = HashEncoder()
    report = refresh_embeddings(connection, SPACE, lambda: encoder, names)
    # The batch that waited to be written when the next one failed is kept, too.
    assert (report.encoded, len(encoder.texts)) == (3, 3)
    assert_exact(connection, encoder)


def test_a_new_space_is_told_once_however_often_its_run_fails(
    connection: postgres.Connection,
) -> None:
    def missing() -> HashEncoder:
        raise OSError("the weights are gone")

    names = load_documents(connection, Document("x", "a", "One."), Document("y", "a", "Two."))
    refresh_embeddings(connection, SPACE, HashEncoder, names)
    second = other_space()
    for _ in range(2):
        with pytest.raises(OSError, match="the weights are gone"):
            refresh_embeddings(connection, second, missing, names)
    refresh_embeddings(connection, second, lambda: HashEncoder(second), names)
    told = "select document_id, reason from change_log where stage = 'embeddings' order by 1"
    reason = f"vector space {second.space_id}"
    assert connection.execute(told).fetchall() == [("x", reason), ("y", reason)]


def test_pending_tokens_are_those_of_the_texts_to_encode(connection: postgres.Connection) -> None:
    names = load_documents(
        connection, Document("x", "a", "One two."), Document("y", "a", "One two.")
    )
    ensure_space(connection, SPACE)
    find_pending(connection, SPACE, names)
    (tokens,) = connection.execute("select max(token_count) from chunks").fetchone() or (0,)
    assert pending_tokens(connection, SPACE) == tokens > 0
    refresh_embeddings(connection, SPACE, HashEncoder, names)
    find_pending(connection, SPACE, names)
    assert pending_tokens(connection, SPACE) == 0
