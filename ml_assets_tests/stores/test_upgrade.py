"""A home of the last version before 0.1 is upgraded in one step, and nothing is computed anew.

`before_0_1.sql.gz` is a dump of 36 documents: two generations were published and one rolled back
from, a document left and one changed, and a champion was promoted.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from ml_assets.embeddings.refresh import refresh_embeddings, stale_collections
from ml_assets.embeddings.space import VectorSpace
from ml_assets.errors import StoreError
from ml_assets.releases.audit import Entry, append, verify
from ml_assets.search.generation import published_generation
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.stores import postgres

DUMP = Path(__file__).with_name("before_0_1.sql.gz")

KEPT = {
    "collections": "collection, source, fingerprint, document_count, refreshed_at",
    "documents": "document_id, collection, title, text, label, url, group_id, metadata, created_at,"
    " content_hash, changed_at, deleted_at, fields_hash",
    "rejected_documents": "collection, location, document_id, reason, rejected_at",
    "chunks": "chunk_id, document_id, collection, chunk_index, start_offset, end_offset,"
    " token_count, heading, text, text_hash",
    "embedding_spaces": "space_id, dimension, definition, created_at, fidelity",
    "document_embeddings": "space_id, chunk_id, collection, text_hash, embedding, embedded_at",
    "change_log": "change_id, changed_at, stage, collection, document_id, action, reason, run_id",
    "search_index_entries": "generation_id, index_kind, chunk_id, revision",
    "search_index_marks": "generation_id, index_kind, mark, worn",
    "feature_definitions": "view, version, entity, fingerprint, definition, registered_at",
    "experiments": "run_id, training_set_hash, family, fingerprint, parameters, metrics, history,"
    " model_uri",
    "model_artifacts": "model_name, version, run_id, uri, training_set_hash, space_id,"
    " feature_views, metrics, seed, created_at",
    "model_audit_logs": "entry_id, logged_at, actor, action, subject, reason, details,"
    " previous_hash, entry_hash",
}
"""Every table, with the columns that both versions have."""
RENAMED = {"model_artifacts": "model_versions"}


def read(
    connection: psycopg.Connection[tuple[object, ...]], renamed: Mapping[str, str]
) -> dict[str, list[object]]:
    """The rows of every table, each as one text."""
    return {
        table: connection.execute(
            f"select ({columns})::text from ml_schema.{renamed.get(table, table)} order by 1"  # type: ignore[call-overload]
        ).fetchall()
        for table, columns in KEPT.items()
    }


@pytest.fixture
def before(postgres_url: str) -> dict[str, list[object]]:
    """The rows of a database of the version before."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        text = gzip.decompress(DUMP.read_bytes())
        connection.execute(text.replace(b"SET transaction_timeout = 0;", b""))  # of 17 and later
        return read(connection, {})


@pytest.fixture
def upgraded(
    before: dict[str, list[object]], postgres_url: str, request: pytest.FixtureRequest
) -> postgres.Connection:
    connection: postgres.Connection = request.getfixturevalue("connection")
    return connection


def test_every_row_is_carried_over(
    before: dict[str, list[object]], upgraded: postgres.Connection
) -> None:
    after = read(upgraded, RENAMED)
    for table, rows in before.items():
        assert rows, f"the dump has no rows in {table}"
        carried = after[table]
        if table == "model_audit_logs":  # that it was upgraded is logged behind them
            *carried, upgrade = carried
            assert "migrate" in str(upgrade)
        assert carried == rows, table
    schemas = upgraded.execute("select nspname from pg_namespace where nspname like 'ml\\_%'")
    assert schemas.fetchall() == [("ml_schema",)]


def test_chunks_and_vectors_lie_in_the_partitions_of_their_chunker(
    upgraded: postgres.Connection,
) -> None:
    rows = upgraded.execute(
        "select c.tableoid::regclass::text = 'chunks_' || m.chunker || '_default'"
        " and e.tableoid::regclass::text"
        " = concat_ws('_', 'document_embeddings', e.space_id, m.chunker, 'default')"
        " and c.created_at = coalesce(d.created_at, '-infinity') and e.created_at = c.created_at"
        " and m.content_hash = d.content_hash and m.chunk_count = 1"
        " from documents d join chunked_documents m using (document_id)"
        " join chunks c using (document_id, chunker)"
        " join document_embeddings e on e.chunk_id = c.chunk_id and e.chunker = c.chunker"
    ).fetchall()
    assert rows == [(True,)] * 35


def test_a_refresh_computes_nothing(upgraded: postgres.Connection) -> None:
    (definition,) = upgraded.execute("select definition from embedding_spaces").fetchall()[0]
    (chunker,) = upgraded.execute("select distinct chunker from chunks").fetchall()[0]
    space = VectorSpace(**definition)
    assert stale_collections(upgraded, chunker, space.space_id) == []
    report = refresh_embeddings(upgraded, space, not_needed, ["even", "odd"])
    assert (report.encoded, report.reused) == (0, 0)
    assert [delta.touched for delta in report.deltas.values()] == [0, 0]


def not_needed() -> None:
    raise AssertionError("nothing is to be encoded")


def test_what_indexes_hold_is_still_current(upgraded: postgres.Connection) -> None:
    """Chroma and the keyword index are not written anew; pgvector's is built in the next run."""
    generation = published_generation(upgraded)
    assert generation
    rows = upgraded.execute(
        "select index_kind, bool_and(revision = index_revision(text_hash, fields_hash)), count(*)"
        " from search_index_entries join chunks using (chunk_id) join documents using (document_id)"
        " where generation_id = %s group by 1 order by 1",
        [generation.generation_id],
    ).fetchall()
    assert rows == [("chroma", True, 35), ("keyword", True, 35)]
    index = PgvectorIndex(upgraded, generation)
    assert index.sync().size == 35
    chunk_id, vector = upgraded.execute(
        "select chunk_id, embedding from document_embeddings order by chunk_id limit 1"
    ).fetchall()[0]
    assert index.query(vector.to_numpy().astype("float32"), 5).chunk_ids[0] == chunk_id


def test_the_audit_chain_verifies_and_goes_on(upgraded: postgres.Connection) -> None:
    assert verify(upgraded) is None
    append(upgraded, Entry(actor="a", action="b", subject="c", reason="d", details={}))
    assert verify(upgraded) is None


def test_experiments_are_completed(upgraded: postgres.Connection) -> None:
    rows = upgraded.execute(
        "select distinct status, ended_at >= started_at, name = family from experiments"
    ).fetchall()
    assert rows == [("completed", True, True)]


def test_tables_that_are_older_still_are_refused(
    before: dict[str, list[object]], postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("delete from ml_schema.migrations where name > '015'")
    with (
        pytest.raises(StoreError, match="too old to be upgraded") as caught,
        postgres.connect(postgres_url, Path()),
    ):
        pass
    assert "\n" not in str(caught.value)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert read(connection, {}) == before


def test_what_was_served_is_a_history(upgraded: postgres.Connection) -> None:
    """Of each model its promotion, of each generation its last publishing: more was not kept."""
    rows = upgraded.execute(
        "select action, model_version, upper_inf(served), generation_id from releases"
        " order by lower(served)"
    ).fetchall()
    assert [action for action, *_ in rows] == ["promote", "publish", "promote", "publish"]
    assert [version for _, version, *_ in rows] == [1, 1, 2, 2]
    assert [is_open for *_, is_open, _ in rows] == [False, False, False, True]
    served = rows[-1][3]
    generation = published_generation(upgraded)
    assert generation
    assert generation.generation_id == served
    withdrawn = upgraded.execute("select part, identity, reason from withdrawals").fetchall()
    assert [(part, reason) for part, _, reason in withdrawn] == [("generation_id", "tried")]
    assert withdrawn[0][1] != served
