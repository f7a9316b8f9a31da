"""Chunks and vectors lie in partitions by chunker and time, and follow their document there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pgvector import HalfVector

from ml_assets.delta import Delta
from ml_assets.documents.chunking import Chunker
from ml_assets.documents.model import Document
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.embeddings.refresh import (
    EmbeddingReport,
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


def test_another_chunker_takes_the_place_of_the_first(connection: postgres.Connection) -> None:
    documents = (dated("x", 2020, LONG), dated("y", None))
    load(connection, *documents)
    _, report = load(connection, *documents, chunker=OTHER)
    assert report.deltas["a"].touched > 0
    for table in ("chunks", VECTORS):
        assert partitions(connection, table) == [f"{table}_{OTHER.fingerprint}_default"]
    rows = connection.execute(
        "select count(*), count(*) filter (where c.text_hash = e.text_hash)"
        " from chunks c full join document_embeddings e using (chunk_id, chunker, created_at)"
    ).fetchone()
    assert rows is not None
    assert rows[0] == rows[1] > 2
    assert stale_collections(connection, OTHER.fingerprint, SPACE.space_id) == []


def test_an_index_of_vectors_is_not_built_over_an_empty_partition(
    connection: postgres.Connection,
) -> None:
    """An IVFFlat index would have no lists, and its next build would not be due."""
    load(connection, dated("x", None))
    connection.execute(
        f"create index by_list on {VECTORS}"  # type: ignore[call-overload]
        " using ivfflat ((embedding::halfvec(16)) halfvec_cosine_ops)"
    )
    load(connection, dated("x", 2020), dated("y", None))
    assert connection.execute("select to_regclass('by_list')").fetchone() == ("by_list",)
    load(connection, dated("x", 2020), dated("y", None), chunker=OTHER)
    assert connection.execute("select to_regclass('by_list')").fetchone() == (None,)


def test_vectors_left_in_the_partition_of_another_chunker_are_seen(
    connection: postgres.Connection,
) -> None:
    """A run was killed between chunks and vectors: the text is the same, the chunker is not."""
    load(connection, dated("x", None))
    refresh_chunks(connection, OTHER, ["a"])
    assert stale_collections(connection, OTHER.fingerprint, SPACE.space_id) == ["a"]


def test_a_partition_that_is_read_is_dropped_by_the_next_run(
    connection: postgres.Connection, postgres_url: str
) -> None:
    load(connection, dated("x", None))
    with postgres.connect(postgres_url, Path()) as reader, reader.transaction():
        reader.execute("select count(*) from chunks")
        refresh_chunks(connection, OTHER, ["a"])
        assert len(partitions(connection, "chunks")) == 2
    refresh_chunks(connection, OTHER, ["a"])
    assert partitions(connection, "chunks") == [f"chunks_{OTHER.fingerprint}_default"]


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
