import dagster as dg
import pytest

from ml_assets.defs.documents.checks import (
    chunks_are_pieces_of_their_documents,
    collections_were_readable,
    documents_are_as_they_were_read,
    quarantined_rows_are_as_they_were_read,
    rows_were_readable,
)
from ml_assets.defs.embeddings.checks import (
    every_chunk_has_one_vector,
    vectors_agree_with_float32,
    vectors_are_as_they_were_encoded,
    vectors_have_unit_norm,
)
from ml_assets.defs.resources import PostgresResource
from ml_assets.documents.collections import changed_collections, read_collections
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.quality import forget_damaged
from ml_assets.documents.refresh import refresh_documents
from ml_assets_tests.fakes import MemorySource, unplugged
from ml_assets_tests.graph import Run


@pytest.fixture
def filled(
    materialize: Run, source: MemorySource, resources: dict[str, object]
) -> PostgresResource:
    source.documents = [Document("x", "a", "One."), Document("y", "b", "Two.")]
    assert materialize().success
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    return postgres


DOCUMENT_CHECKS = [
    (
        documents_are_as_they_were_read,
        (
            "alter table documents drop constraint documents_pkey cascade;"
            " alter table documents alter fields_hash drop expression;"
            " insert into documents select * from documents where document_id = 'x'"
        ),
    ),
    (
        documents_are_as_they_were_read,
        "update documents set document_id = ' ' where document_id = 'y'",
    ),
    (chunks_are_pieces_of_their_documents, "delete from chunks where document_id = 'x'"),
    (chunks_are_pieces_of_their_documents, "update documents set text = 'Other'"),
    (chunks_are_pieces_of_their_documents, "update documents set deleted_at = now()"),
    (
        chunks_are_pieces_of_their_documents,
        "update chunks set text = 'One?' where chunk_id = 'x#0'",
    ),
    (
        chunks_are_pieces_of_their_documents,
        "update chunks set heading = 'h' where chunk_id = 'x#0'",
    ),
    (chunks_are_pieces_of_their_documents, "update chunked_documents set chunk_count = 2"),
    (
        documents_are_as_they_were_read,
        "update documents set title = 'Other' where document_id = 'x'",
    ),
    (documents_are_as_they_were_read, "update documents set metadata = '{\"a\": 1}'"),
    (documents_are_as_they_were_read, "delete from documents where document_id = 'x'"),
]
VECTOR_CHECKS = [
    (every_chunk_has_one_vector, "delete from document_embeddings where chunk_id = 'x#0'"),
    (every_chunk_has_one_vector, "delete from chunks where chunk_id = 'x#0'"),
    (every_chunk_has_one_vector, "update chunks set text_hash = 'other'"),
    (
        vectors_are_as_they_were_encoded,
        (
            "update document_embeddings e set embedding = o.embedding"
            " from document_embeddings o where e.chunk_id = 'x#0' and o.chunk_id = 'y#0'"
        ),
    ),
    (vectors_have_unit_norm, "update document_embeddings set embedding = embedding + embedding"),
    (
        vectors_agree_with_float32,
        (
            "update document_embeddings e set embedding = o.embedding"
            " from document_embeddings o where e.chunk_id = 'x#0' and o.chunk_id = 'y#0'"
        ),
    ),
]


@pytest.mark.parametrize(("check", "damage"), DOCUMENT_CHECKS)
def test_document_checks_pass_and_fail(
    filled: PostgresResource, check: dg.AssetChecksDefinition, damage: str
) -> None:
    assert check(postgres=filled, thorough=True).passed
    with filled.connect() as connection:
        connection.execute("alter table chunks drop constraint chunks_document_id_fkey")
        marks = "alter table chunked_documents drop constraint chunked_documents_document_id_fkey"
        connection.execute(marks)
        connection.execute(damage)  # type: ignore[arg-type]
    assert not check(postgres=filled, thorough=True).passed


@pytest.mark.parametrize(("check", "damage"), VECTOR_CHECKS)
def test_vector_checks_pass_and_fail(
    filled: PostgresResource,
    resources: dict[str, object],
    check: dg.AssetChecksDefinition,
    damage: str,
) -> None:
    assert check(encoder=resources["encoder"], postgres=filled).passed
    with filled.connect() as connection:
        connection.execute(damage)  # type: ignore[arg-type]
    assert not check(encoder=resources["encoder"], postgres=filled).passed


def test_rejected_rows_are_a_warning_with_examples(
    materialize: Run, source: MemorySource, filled: PostgresResource
) -> None:
    assert rows_were_readable(postgres=filled).passed
    source.documents.append(Rejected("a", "f.csv:2", "no text"))
    materialize()
    result = rows_were_readable(postgres=filled)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.metadata["examples"].value == ["f.csv:2: no text"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("update rejected_documents set reason = 'none' where collection = 'a'", {"f.csv:2"}),
        ("update rejected_documents set location = 'f.csv:9' where collection = ''", {"f.csv:9"}),
        ("delete from rejected_documents where collection = 'a'", {"a"}),
        ("delete from rejected_documents", {"a", "of no collection"}),
        (
            "insert into rejected_documents (collection, location, reason) values ('b', 'x', 'y')",
            {"x", "b"},
        ),
    ],
)
def test_quarantined_rows_that_another_hand_changed_are_told_and_read_again(
    source: MemorySource, filled: PostgresResource, damage: str, told: set[str]
) -> None:
    def check() -> dg.AssetCheckResult:
        result = quarantined_rows_are_as_they_were_read(postgres=filled, thorough=False)
        assert isinstance(result, dg.AssetCheckResult)
        return result

    source.documents += [Rejected("a", "f.csv:2", "no text", "z"), Rejected("", "f.csv:3", "bad")]
    query = "select collection, location, document_id, reason from rejected_documents order by 1"
    with filled.connect() as connection:
        refresh_documents(connection, source, ["a", "b"])
        assert check().passed
        before = connection.execute(query).fetchall()
        connection.execute(damage)  # type: ignore[arg-type]
        result = check()
        assert not result.passed
        assert result.severity == dg.AssetCheckSeverity.WARN
        assert set(str(result.metadata["examples"].value).split(", ")) == told
        forget_damaged(connection)
        again = changed_collections(read_collections(connection), source.collections())
        refresh_documents(connection, source, again)
        assert connection.execute(query).fetchall() == before
    assert check().passed


def test_a_collection_that_was_not_read_is_a_warning_with_its_reason(
    source: MemorySource, filled: PostgresResource
) -> None:
    assert collections_were_readable(postgres=filled).passed
    with filled.connect() as connection:
        refresh_documents(connection, unplugged(source, "b"), ["a", "b"])
    result = collections_were_readable(postgres=filled)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.metadata["reasons"].value == {"b": "b: the disk went away. Plug it in"}
    with filled.connect() as connection:
        refresh_documents(connection, source, ["b"])
    assert collections_were_readable(postgres=filled).passed


def test_a_failed_blocking_check_stops_what_follows(
    materialize: Run, source: MemorySource, filled: PostgresResource
) -> None:
    with filled.connect() as connection:
        connection.execute("alter table documents drop constraint documents_collection_fkey")
        connection.execute(
            "insert into documents (document_id, collection, title, text, group_id, content_hash)"
            " values (' ', 'gone', '', '', '', '')"
        )
    source.documents[0] = Document("x", "a", "One edited.")
    result = materialize(documents_are_as_they_were_read, raise_on_error=False)
    assert not result.success
    assert result.asset_materializations_for_node("raw_documents")
    assert not result.asset_materializations_for_node("chunks")
