"""What a generation is that was served is told by the audit log, and written again from it."""

from typing import Any

import pytest

from ml_assets.search.model import Fusion, Generation
from ml_assets.search.publishing.quality import restore_from_log, unlike_the_log
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.search.corpus import generation_of
from ml_assets_tests.search.measurements import publish


@pytest.fixture
def retired(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> Generation:
    """A generation that was served, with two fusions, before the present one."""
    publish(connection, generation)
    publish(connection, generation, fusion=Fusion("rrf", 0.4))
    publish(connection, generation_of(connection, settings.model_copy(update={"hnsw_m": 24})))
    return generation


def rows(connection: postgres.Connection) -> list[Any]:
    query = "select generation_id, space_id, parameters, fusion, dropped_at from search_generations"
    return connection.execute(f"{query} order by generation_id").fetchall()


def named(connection: postgres.Connection, described: str = "") -> dict[str, list[str]]:
    problems = unlike_the_log(connection, described)
    return {each.problem: list(each.examples) for each in problems}


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "update search_generations set parameters = parameters - 'keyword'",
            "altered_generations",
        ),
        ('update search_generations set fusion = \'{"method": "rrf"}\'', "altered_generations"),
        ("update search_generations set space_id = '0000000000000000'", "altered_generations"),
        ("update search_generations set dropped_at = now()", "altered_generations"),
        ("delete from search_generations", "missing_generations"),
    ],
)
def test_a_retired_one_is_written_again(
    connection: postgres.Connection, retired: Generation, statement: str, problem: str
) -> None:
    connection.execute(
        "insert into embedding_spaces (space_id, dimension, definition)"
        " select '0000000000000000', dimension, definition from embedding_spaces limit 1"
    )
    assert not unlike_the_log(connection)
    sound, identity = rows(connection), retired.generation_id
    connection.execute(f"{statement} where generation_id = '{identity}'")
    assert named(connection) == {problem: [identity]}
    restore_from_log(connection)
    assert not unlike_the_log(connection)
    assert rows(connection) == sound


def test_the_one_that_is_published_anew_is_left_to_that(
    connection: postgres.Connection, generation: Generation, retired: Generation
) -> None:
    connection.execute("update search_generations set parameters = '{}'")
    (present,) = {identity for identity, *_ in rows(connection)} - {retired.generation_id}
    assert named(connection, present) == {"altered_generations": [retired.generation_id]}
    # Described, but not served: no run would mend it.
    assert set(named(connection, retired.generation_id)["altered_generations"]) == {
        present,
        retired.generation_id,
    }


def test_an_altered_one_that_is_served_again_is_told_still(
    connection: postgres.Connection, retired: Generation
) -> None:
    """The log of its first publishing says what it is, not that of a later one."""
    connection.execute(
        "update search_generations set parameters = parameters - 'chroma' where generation_id = %s",
        [retired.generation_id],
    )
    publish(connection, retired)
    assert named(connection) == {"altered_generations": [retired.generation_id]}


def test_what_was_never_served_or_was_served_before_the_log_told_is_not_compared(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    connection.execute("update search_generations set parameters = '{}'")
    assert not unlike_the_log(connection)


def test_a_broken_log_restores_nothing(
    connection: postgres.Connection, retired: Generation
) -> None:
    connection.execute("update search_generations set fusion = '{}'")
    left = rows(connection)
    connection.execute("alter table model_audit_logs disable trigger all")
    connection.execute("update model_audit_logs set reason = 'other' where entry_id = 1")
    assert not unlike_the_log(connection)
    restore_from_log(connection)
    assert rows(connection) == left
