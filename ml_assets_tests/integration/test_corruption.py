"""What another hand did to the stores is told by the next run, and `ml-assets repair` undoes it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from ml_assets.embeddings.space import current_space
from ml_assets.settings import load_settings
from ml_assets.stores import chroma, duckdb, postgres
from ml_assets_tests.integration.project import Project
from ml_assets_tests.integration.stores import read_stores

BY_HAND = {
    "documents_are_as_they_were_read": (
        "update documents set text = 'Not so.' where document_id = 'kitchen-1'",
        "update documents set title = 'Not so' where document_id = 'kitchen-2'",
        "delete from documents where document_id = 'kitchen-3'",
        (
            "insert into documents (document_id, collection, title, text, group_id, content_hash)"
            " select 'twin', collection, title, text, group_id, content_hash from documents"
            " where document_id = 'kitchen-4'"
        ),
    ),
    "chunks_are_pieces_of_their_documents": (
        "delete from chunks where chunk_id = 'garden-1#0'",
        "update chunks set text = 'Not so.' where chunk_id = 'garden-2#0'",
        (
            "insert into chunks select chunker, created_at, 'garden-3#9', document_id, collection,"
            " 9, start_offset, end_offset, token_count, heading, text, text_hash"
            " from chunks where chunk_id = 'garden-3#0'"
        ),
    ),
    "vectors_are_as_they_were_encoded": (
        (
            "update document_embeddings set embedding = (select embedding from document_embeddings"
            " where chunk_id = 'space-1#0') where chunk_id = 'music-1#0'"
        ),
    ),
    "vectors_have_unit_norm": (
        (
            "update document_embeddings set embedding = embedding + embedding"
            " where chunk_id = 'music-2#0'"
        ),
    ),
}
"""By the check that tells it."""

BESIDE = {
    "document_features_are_as_computed": (
        "duckdb",
        "update features_document_text_v1 set words = words + 1 where entity_id = 'space-1'",
    ),
    "collection_features_are_as_computed": (
        "duckdb",
        "update features_collection_activity_v1 set chunk_count = chunk_count + 1",
    ),
    "every_document_has_one_row": (
        "duckdb",
        "delete from features_document_text_v1 where entity_id = 'space-2'",
    ),
    "online_equals_offline": (
        "sqlite",
        "update online_features set features = '{}' where entity_id = 'space-3'",
    ),
    "indexes_hold_the_live_chunks": ("chroma", "garden-5#0"),
    "training_set_is_as_frozen": (
        "duckdb",
        "update training_sets set text_hash = 'x' where document_id = 'space-4'",
    ),
}
"""What is beside PostgreSQL: the store, and what is done to it."""


def by_hand(project: Project, *statements: str) -> None:
    with postgres.connect(None, project.home) as connection:
        for text in statements:
            assert connection.execute(text).rowcount > 0  # type: ignore[arg-type]


def beside(project: Project, store: str, statement: str) -> None:
    if store == "duckdb":
        with duckdb.connect(project.home / "offline.duckdb") as duck:
            duck.execute(statement)
    elif store == "chroma":
        with chroma.connect(None, project.home) as client:
            (collection,) = client.list_collections()
            other = collection.get(ids=["garden-6#0"], include=["embeddings"])["embeddings"]
            collection.update(ids=[statement], embeddings=other)
    else:
        with sqlite3.connect(project.home / "online.sqlite") as online:
            assert online.execute(statement).rowcount > 0


def stores(project: Project) -> dict[str, Any]:
    with postgres.connect(None, project.home) as connection:
        return read_stores(connection, project.home, current_space(load_settings()))


@pytest.fixture(scope="module")
def sound(project: Project) -> dict[str, Any]:
    """What the stores hold after a run that nobody disturbed."""
    project.call("run")
    assert "Nothing changed" in project.call("run")
    return stores(project)


@pytest.mark.parametrize("check", BY_HAND)
def test_what_another_hand_did_is_told_and_repaired(
    project: Project, sound: dict[str, Any], check: str
) -> None:
    by_hand(project, *BY_HAND[check])
    for told in (project.call("run", code=1), project.call("run", code=1)):
        assert f"Blocking check failed {check}" in told
        assert "repair ml-assets repair" in told
    (failed,) = [row for row in project.json("status")["checks"] if not row["passed"]]
    assert (failed["check"], failed["blocks"]) == (check, True)
    assert f"Blocking check failed {check}" in project.call("status")
    project.call("repair")
    assert "Nothing changed" in project.call("run")
    assert stores(project) == sound


@pytest.mark.parametrize("check", BESIDE)
def test_what_another_hand_did_beside_postgresql_is_told_and_repaired(
    project: Project, sound: dict[str, Any], check: str
) -> None:
    beside(project, *BESIDE[check])
    told = project.call("run", code=1)
    assert f"Blocking check failed {check}" in told
    project.call("repair")
    assert "Nothing changed" in project.call("run")
    assert stores(project) == sound


def test_deleted_audit_entries_are_told_for_good(project: Project, sound: object) -> None:
    with postgres.connect(None, project.home) as connection, connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute("create table kept as select * from model_audit_logs")
        connection.execute("delete from model_audit_logs")
    for told in (project.call("run", code=1), project.call("repair", code=1)):
        assert "Blocking check failed audit_chain_is_intact" in told
        assert "ml-assets restore" in told
    with postgres.connect(None, project.home) as connection, connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute("delete from model_audit_logs")
        connection.execute(
            "insert into model_audit_logs overriding system value select * from kept"
        )
        connection.execute("drop table kept")
    project.call("run")


def test_a_release_of_a_version_that_does_not_exist_is_replaced(
    project: Project, sound: object
) -> None:
    served = project.json("status")["champion"]["version"]
    with postgres.connect(None, project.home) as connection, connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute("update releases set model_version = 99 where upper_inf(served)")
    assert "99" in project.call("run")
    assert project.json("status")["champion"]["version"] == served
    assert "kitchen" in project.call("predict", "oven bread flour butter")
