"""Chunks and vectors lie in partitions by chunker and time, and follow their document there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pgvector import HalfVector

from ml_assets.delta import Delta
from ml_assets.documents.chunkers import drop_chunks, known_chunkers
from ml_assets.documents.chunking import Chunker
from ml_assets.documents.model import Document
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.embeddings.refresh import (
    EmbeddingReport,
    drop_vectors,
    partition_name,
    refresh_embeddings,
    stale_collections,
)
from ml_assets.embeddings.space import current_model
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource

TOKENIZER = current_model(load_settings()).tokenizer_file
CHUNKER = Chunker(TOKENIZER, 40, tokens=16, overlap=4)
OTHER = Chunker(TOKENIZER, 40, tokens=20, overlap=4)
LONG = "One two three four five. " * 6
VECTORS = partition_name(SPACE.space_id)


def load(
    connection: postgres.Connection, *documents: Document, chunker: Chunker = CHUNKER
) -> tuple[Delta, EmbeddingReport]:
    """Refresh all three tables; the encoder of the second run fails if it is asked."""
    refresh_documents(connection, MemorySource(documents), ["a"])
    chunks = refresh_chunks(connection, chunker, ["a"])
    return chunks["a"], refresh_embeddings(connection, SPACE, HashEncoder, ["a"])


def dated(name: str, year: int | None, text: str = "Some text.") -> Document:
    created_at = datetime(year, 1, 1, tzinfo=UTC) if year else None
    return Document(name, "a", f"{text} {name}", created_at=created_at)


def places(connection: postgres.Connection, table: str) -> set[tuple[str, str, str]]:
    """Chunk, partition and time of every row."""
    return {
        (chunk, partition, time)
        for chunk, partition, time in connection.execute(
            f"select chunk_id, tableoid::regclass::text, created_at::text from {table}"  # type: ignore[call-overload]
        )
    }


def partitions(connection: postgres.Connection, table: str) -> list[str]:
    rows = connection.execute(
        "select relid::regclass::text from pg_partition_tree(%s) where isleaf order by 1", [table]
    )
    return [name for (name,) in rows]


@pytest.mark.parametrize("table", ["chunks", "document_embeddings"])
def test_rows_follow_the_time_of_their_document(
    connection: postgres.Connection, table: str
) -> None:
    load(connection, dated("x", None), dated("y", 2020))
    before = {(chunk, time) for chunk, _, time in places(connection, table)}
    assert before == {("x#0", "-infinity"), ("y#0", "2020-01-01 00:00:00+00")}
    chunks, report = load(connection, dated("x", 2021), dated("y", None))
    assert (chunks, report.encoded, report.reused) == (Delta(unchanged=2), 0, 0)
    after = {(chunk, time) for chunk, _, time in places(connection, table)}
    assert after == {("x#0", "2021-01-01 00:00:00+00"), ("y#0", "-infinity")}


def test_chunks_of_another_chunker_stand_beside_those_of_the_first(
    connection: postgres.Connection,
) -> None:
    documents = (dated("x", 2020, LONG), dated("y", None))
    load(connection, *documents)
    before = [places(connection, table) for table in ("chunks", VECTORS)]
    _, report = load(connection, *documents, chunker=OTHER)
    # What both cut alike is not encoded again.
    assert (report.reused, report.encoded > 0) == (1, True)
    for table, first in zip(("chunks", VECTORS), before, strict=True):
        names = {each.fingerprint: f"{table}_{each.fingerprint}" for each in (CHUNKER, OTHER)}
        assert partitions(connection, table) == sorted(f"{name}_default" for name in names.values())
        of_first = names[CHUNKER.fingerprint]
        assert {row for row in places(connection, table) if row[1].startswith(of_first)} == first
    rows = connection.execute(
        "select count(*), count(*) filter (where c.text_hash = e.text_hash)"
        " from chunks c full join document_embeddings e using (chunk_id, chunker, created_at)"
    ).fetchone()
    assert rows is not None
    assert rows[0] == rows[1] > 4
    assert stale_collections(connection, OTHER.fingerprint, SPACE.space_id) == []
    # The way back encodes nothing, but has to be gone: another chunker is the current one.
    assert stale_collections(connection, CHUNKER.fingerprint, SPACE.space_id) == ["a"]
    chunks, report = load(connection, *documents)
    assert (chunks.touched, report.encoded, report.reused) == (0, 0, 0)
    assert stale_collections(connection, CHUNKER.fingerprint, SPACE.space_id) == []


def count(connection: postgres.Connection, chunker: Chunker) -> tuple[int, int, int]:
    """Chunks, vectors and marks of a chunker."""
    counts = [
        connection.execute(f"select count(*) from {table} where chunker = %s", [identity])  # type: ignore[call-overload]
        for identity in [chunker.fingerprint]
        for table in ("chunks", "document_embeddings", "chunked_documents")
    ]
    first, second, third = (rows.fetchall()[0][0] for rows in counts)
    return first, second, third


@pytest.mark.parametrize("beside", [False, True])
def test_a_chunker_beside_the_current_one_follows_and_another_loses_what_changed(
    connection: postgres.Connection, beside: bool
) -> None:
    load(connection, dated("x", None), dated("y", None))
    changed = MemorySource([dated("x", None, "Other text."), dated("y", None), dated("z", None)])
    refresh_documents(connection, changed, ["a"])
    # It was followed by the run before.
    assert stale_collections(connection, OTHER.fingerprint, SPACE.space_id) == ["a"]
    refresh_chunks(connection, OTHER, ["a"], beside=[CHUNKER] if beside else [], run_id="r2")
    encoder = HashEncoder()
    refresh_embeddings(connection, SPACE, lambda: encoder, ["a"])
    assert len(encoder.texts) == 2  # for both chunkers
    assert count(connection, OTHER) == (3, 3, 3)
    assert count(connection, CHUNKER) == ((3, 3, 3) if beside else (1, 1, 1))
    assert stale_collections(connection, OTHER.fingerprint, SPACE.space_id) == []
    told = connection.execute(
        "select document_id, reason from change_log where stage = 'chunks' order by 1"
    ).fetchall()
    assert told == [("y", f"chunker {OTHER.fingerprint}")]
    refresh_documents(connection, MemorySource([dated("y", None)]), ["a"])
    assert stale_collections(connection, OTHER.fingerprint, SPACE.space_id) == ["a"]
    refresh_chunks(connection, OTHER, ["a"], beside=[CHUNKER] if beside else [])
    refresh_embeddings(connection, SPACE, lambda: encoder, ["a"])
    assert count(connection, OTHER) == count(connection, CHUNKER) == (1, 1, 1)


def test_a_run_that_is_killed_between_two_chunkers_is_seen(connection: postgres.Connection) -> None:
    load(connection, dated("x", None))
    refresh_chunks(connection, OTHER, ["a"], beside=[CHUNKER])
    assert stale_collections(connection, OTHER.fingerprint, SPACE.space_id) == ["a"]
    refresh_embeddings(connection, SPACE, HashEncoder, ["a"])
    assert stale_collections(connection, OTHER.fingerprint, SPACE.space_id) == []
    connection.execute("delete from chunked_documents where chunker = %s", [CHUNKER.fingerprint])
    assert stale_collections(connection, OTHER.fingerprint, SPACE.space_id) == ["a"]


def test_a_chunker_is_dropped_with_its_chunks_and_vectors(connection: postgres.Connection) -> None:
    load(connection, dated("x", None))
    load(connection, dated("x", None), chunker=OTHER)
    assert known_chunkers(connection) == sorted([CHUNKER.fingerprint, OTHER.fingerprint])
    drop_vectors(connection, chunker=CHUNKER.fingerprint)
    drop_chunks(connection, CHUNKER.fingerprint)
    assert known_chunkers(connection) == [OTHER.fingerprint]
    assert count(connection, CHUNKER) == (0, 0, 0)
    assert count(connection, OTHER) == (1, 1, 1)
    load(connection, dated("x", None))
    assert count(connection, CHUNKER) == (1, 1, 1)


def test_a_chunker_is_made_again_of_its_definition() -> None:
    assert OTHER.made_again(CHUNKER.definition) == CHUNKER
    assert OTHER.made_again({**CHUNKER.definition, "chunker": "0" * 16}) is None
    assert OTHER.made_again({"chunker": CHUNKER.fingerprint}) is None
    too_long = {**CHUNKER.definition, "tokens": 400}
    assert OTHER.made_again(too_long) is None


TIER = """
create table tier (like {leaf} including all);
with moved as (
    delete from {leaf} where created_at >= '2020-01-01' and created_at < '2021-01-01' returning *
)
insert into tier select * from moved;
alter table {parent} attach partition tier for values from ('2020-01-01') to ('2021-01-01')
"""


@pytest.mark.parametrize("table", ["chunks", VECTORS])
def test_a_year_gets_a_partition_of_its_own_and_no_other_row_is_written(
    connection: postgres.Connection, table: str
) -> None:
    documents = [dated("x", 2019), dated("y", 2020), dated("z", 2021), dated("w", None)]
    load(connection, *documents)
    connection.execute(
        f"create index by_vector on {VECTORS}"  # type: ignore[call-overload]
        " using hnsw ((embedding::halfvec(16)) halfvec_cosine_ops)"
    )
    leaf = f"{table}_{CHUNKER.fingerprint}_default"
    rows = f"select chunk_id, ctid::text, xmin::text from {leaf} where chunk_id <> 'y#0' order by 1"
    file = f"select pg_relation_filenode('{leaf}')"
    before = [connection.execute(query).fetchall() for query in (rows, file)]  # type: ignore[call-overload]
    with connection.transaction():
        connection.execute(TIER.format(leaf=leaf, parent=f"{table}_{CHUNKER.fingerprint}"))  # type: ignore[call-overload]
    after = [connection.execute(query).fetchall() for query in (rows, file)]  # type: ignore[call-overload]
    assert after == before
    assert len(before[0]) == 3

    documents.append(dated("v", 2020))
    chunks, report = load(connection, *documents)
    assert (chunks, report.encoded) == (Delta(added=1, unchanged=4), 1)
    assert {chunk for chunk, where, _ in places(connection, table) if where == "tier"} == {
        "v#0",
        "y#0",
    }
    with connection.transaction():
        connection.execute("set local enable_seqscan = off")
        query = HalfVector(HashEncoder().encode(["Some text. y"])[0])
        nearest = connection.execute(
            f"select chunk_id from {VECTORS}"  # type: ignore[call-overload]
            " order by embedding::halfvec(16) <=> %s::halfvec(16) limit 2",
            [query],
        ).fetchall()
    assert nearest[0] == ("y#0",)
