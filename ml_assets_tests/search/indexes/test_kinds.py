"""What is known of the kinds of index without opening one."""

import pytest

from ml_assets.search.indexes.kinds import answering_kind


@pytest.mark.parametrize(
    ("chosen", "built", "answers"),
    [
        ("chroma", {"pgvector", "chroma", "keyword"}, "chroma"),
        ("pgvector-exact", {"pgvector", "chroma", "keyword"}, "pgvector"),
        ("faiss", {"keyword", "chroma"}, "chroma"),  # one of before the setting
        ("faiss", set(), "faiss"),  # none is built yet
        ("pgvector", {"keyword"}, "pgvector"),
    ],
)
def test_the_kind_that_answers(chosen: str, built: set[str], answers: str) -> None:
    assert answering_kind(chosen, built) == answers
