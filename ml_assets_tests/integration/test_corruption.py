"""What another hand did to the stores is told by the next run, and `ml-assets repair` undoes it."""

from __future__ import annotations

from typing import Any

import pytest

from ml_assets.embeddings.space import current_space
from ml_assets.settings import load_settings
from ml_assets.stores import postgres
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


def by_hand(project: Project, *statements: str) -> None:
    with postgres.connect(None, project.home) as connection:
        for text in statements:
            assert connection.execute(text).rowcount > 0  # type: ignore[arg-type]


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
    project.call("repair")
    assert "Nothing changed" in project.call("run")
    assert stores(project) == sound
