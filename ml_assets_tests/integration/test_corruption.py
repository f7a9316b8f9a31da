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

DAMAGE: list[dict[str, tuple[str, ...]]] = [
    {
        "documents_are_as_they_were_read": (
            "postgres: update documents set text = 'Not so.' where document_id = 'kitchen-1'",
            "postgres: update documents set title = 'Not so' where document_id = 'kitchen-2'",
            "postgres: delete from documents where document_id = 'kitchen-3'",
            (
                "postgres: insert into documents"
                " (document_id, collection, title, text, group_id, content_hash)"
                " select 'twin', collection, title, text, group_id, content_hash from documents"
                " where document_id = 'kitchen-4'"
            ),
        ),
    },
    {
        "chunks_are_pieces_of_their_documents": (
            "postgres: delete from chunks where chunk_id = 'garden-1#0'",
            "postgres: update chunks set text = 'Not so.' where chunk_id = 'garden-2#0'",
            (
                "postgres: insert into chunks"
                " select chunker, created_at, 'garden-3#9', document_id, collection, 9,"
                " start_offset, end_offset, token_count, heading, text, text_hash"
                " from chunks where chunk_id = 'garden-3#0'"
            ),
        ),
    },
    {
        "vectors_are_as_they_were_encoded": (
            (
                "postgres: update document_embeddings set embedding ="
                " (select embedding from document_embeddings where chunk_id = 'space-1#0')"
                " where chunk_id = 'music-1#0'"
            ),
        ),
        "vectors_have_unit_norm": (
            (
                "postgres: update document_embeddings set embedding = embedding + embedding"
                " where chunk_id = 'music-2#0'"
            ),
        ),
    },
    {"indexes_hold_the_live_chunks": ("chroma: garden-5#0 garden-6#0",)},
    {
        "document_features_are_as_computed": (
            (
                "duckdb: update features_document_text_v1 set words = words + 1"
                " where entity_id = 'space-1'"
            ),
        ),
        "collection_features_are_as_computed": (
            "duckdb: update features_collection_activity_v1 set chunk_count = chunk_count + 1",
        ),
        "every_document_has_one_row": (
            "duckdb: delete from features_document_text_v1 where entity_id = 'space-2'",
        ),
    },
    {
        "online_equals_offline": (
            "sqlite: update online_features set features = '{}' where entity_id = 'space-3'",
        ),
        "training_set_is_as_frozen": (
            "duckdb: update training_sets set text_hash = 'x' where document_id = 'space-4'",
        ),
    },
]
"""What is done by hand to which store, by the checks that tell it; what blocks hides the rest."""


def by_hand(project: Project, damage: str) -> None:
    store, _, text = damage.partition(": ")
    if store == "postgres":
        with postgres.connect(None, project.home) as connection:
            assert connection.execute(text).rowcount > 0  # type: ignore[arg-type]
    elif store == "duckdb":
        with duckdb.connect(project.home / "offline.duckdb") as duck:
            duck.execute(text)
    elif store == "sqlite":
        with sqlite3.connect(project.home / "online.sqlite") as online:
            assert online.execute(text).rowcount > 0
    else:
        chunk, other = text.split()
        with chroma.connect(None, project.home) as client:
            (collection,) = client.list_collections()
            found = collection.get(ids=[other], include=["embeddings"])["embeddings"]
            collection.update(ids=[chunk], embeddings=found)


def stores(project: Project) -> dict[str, Any]:
    with postgres.connect(None, project.home) as connection:
        return read_stores(connection, project.home, current_space(load_settings()))


@pytest.fixture(scope="module")
def sound(project: Project) -> dict[str, Any]:
    """What the stores hold after a run that nobody disturbed."""
    project.call("run")
    assert "Nothing changed" in project.call("run")
    return stores(project)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: next(iter(damage)))
def test_what_another_hand_did_is_told_and_repaired(
    project: Project, sound: dict[str, Any], damage: dict[str, tuple[str, ...]]
) -> None:
    for statements in damage.values():
        for statement in statements:
            by_hand(project, statement)
    told = project.call("run", code=1)
    for check in damage:
        assert f"Blocking check failed {check}" in told
    assert "repair ml-assets repair" in told
    project.call("repair")
    assert "Nothing changed" in project.call("run")
    assert stores(project) == sound


def test_a_failed_check_is_told_until_it_passes(project: Project, sound: object) -> None:
    by_hand(
        project, "postgres: update documents set title = 'Not so' where document_id = 'space-5'"
    )
    for _ in range(2):
        told = project.call("run", code=1)
        assert "altered_documents 1, examples space-5, repair ml-assets repair" in told
    (failed,) = [row for row in project.json("status")["checks"] if not row["passed"]]
    assert (failed["check"], failed["blocks"]) == ("documents_are_as_they_were_read", True)
    assert "Blocking check failed documents_are_as_they" in project.call("status")
    project.call("repair")
    assert all(row["passed"] for row in project.json("status")["checks"])


def test_a_release_of_a_version_that_does_not_exist_is_told_and_replaced(
    project: Project, sound: object
) -> None:
    served = project.json("status")["champion"]["version"]
    with postgres.connect(None, project.home) as connection, connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute("update releases set model_version = 99 where upper_inf(served)")
    assert "version 99 was served without being registered" in project.call("run")
    assert project.json("status")["champion"]["version"] == served
    assert "kitchen" in project.call("predict", "oven bread flour butter")


def test_deleted_audit_entries_are_told_for_good(project: Project, sound: object) -> None:
    """The last test of this home: nothing but a backup undoes it."""
    with postgres.connect(None, project.home) as connection, connection.transaction():
        connection.execute("set local session_replication_role = replica")
        connection.execute("delete from model_audit_logs")
    for told in (project.call("run", code=1), project.call("repair", code=1)):
        assert "Blocking check failed audit_chain_is_intact" in told
        assert "ml-assets restore" in told
