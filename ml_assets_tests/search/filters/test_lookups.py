"""The indexes on metadata serve the filters, and change no answer."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_
from psycopg import sql

from ml_assets.documents import lookups
from ml_assets.documents.lookups import index_metadata
from ml_assets.search.filters.language import Compare, Condition, In, Not
from ml_assets.search.filters.sql import matching_chunk_ids, sql_condition
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets_tests.search.corpus import Doc, fill
from ml_assets_tests.search.filters.conditions import conditions, equal, random_documents
from ml_assets_tests.search.oracle import matches

DOCS = random_documents(150, seed=7)


@pytest.fixture
def indexed(connection: postgres.Connection) -> postgres.Connection:
    """No table is scanned where an index serves."""
    fill(connection, DOCS)
    index_metadata(connection)
    index_metadata(connection)
    connection.execute("analyze documents")
    connection.execute("set enable_seqscan = off")
    return connection


def plan(connection: postgres.Connection, condition: Condition) -> str:
    text, bound = sql_condition(condition)
    query = sql.SQL("explain select from documents d where ") + sql.SQL(text)
    return "\n".join(line for (line,) in connection.execute(query, bound))


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        (equal("metadata.n", 'q"[x]\\'), "documents_metadata"),
        (In("metadata.n", (1, True, "é")), "documents_metadata"),
        (Compare("metadata.n", "<", 1), "documents_number_"),
        (Compare('metadata.q"[x]\\', ">=", 1.5), "documents_number_"),
        (equal("label", "food"), "documents_label"),
    ],
)
def test_a_filter_is_served_by_an_index(
    indexed: postgres.Connection, condition: Condition, index: str
) -> None:
    assert index in plan(indexed, condition)
    assert index not in plan(indexed, Not(condition))


@settings_(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=100,
)
@given(conditions(fewest=0))
def test_what_an_index_finds_is_what_passes(
    indexed: postgres.Connection, generation: Generation, condition: Condition
) -> None:
    passing = {f"{name}#0" for name, doc in DOCS.items() if matches(condition, doc)}
    assert set(matching_chunk_ids(indexed, generation, condition)) == passing


def test_the_keys_with_most_numbers_have_an_index(
    connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "MOST_KEYS", 1)
    fill(
        connection,
        {
            "a": Doc(("a",), metadata={"n": 1, "m": 1, "s": "x" * 5000}),
            "b": Doc(("b",), metadata={"n": 2, "m": "no number", "s": "y" * 5000}),
        },
    )
    index_metadata(connection)
    query = "select indexdef from pg_indexes where indexname like 'documents_number_%'"
    [(definition,)] = connection.execute(query).fetchall()
    assert "'n'" in definition
