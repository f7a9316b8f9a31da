import json
from dataclasses import asdict

import pytest
from psycopg.errors import UniqueViolation

from ml_assets.errors import GateError, NothingToDoError, SpaceMismatchError
from ml_assets.search.generation import (
    ensure_generation,
    find_generation,
    generation_id,
    publish,
    published_generation,
    record_evaluation,
)
from ml_assets.search.indexes.kinds import index_parameters
from ml_assets.search.model import DEFAULT_FUSION, Fusion, Generation
from ml_assets.search.publishing.gates import Gate
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.search.corpus import generation_of


@pytest.fixture
def other(connection: postgres.Connection, settings: Settings) -> Generation:
    return generation_of(connection, settings.model_copy(update={"hnsw_m": 24}))


def audit(connection: postgres.Connection) -> list[tuple[str, str, str, str]]:
    return connection.execute(
        "select actor, action, subject, reason from model_audit_logs order by entry_id"
    ).fetchall()


def test_space_and_parameters_make_the_id(settings: Settings) -> None:
    parameters = index_parameters(settings)
    again = json.loads(json.dumps(parameters))
    assert generation_id("a" * 16, parameters) == generation_id("a" * 16, again)
    assert generation_id("b" * 16, parameters) != generation_id("a" * 16, parameters)
    changed = index_parameters(settings.model_copy(update={"hnsw_ef_construction": 65}))
    assert generation_id("a" * 16, changed) != generation_id("a" * 16, parameters)


def test_a_generation_is_created_once(
    connection: postgres.Connection, generation: Generation, settings: Settings
) -> None:
    assert generation.state == "building"
    assert generation.dimension == 16
    assert generation.evaluation is None
    assert generation.fusion == DEFAULT_FUSION
    again = ensure_generation(connection, generation.space_id, index_parameters(settings))
    assert again == generation
    assert find_generation(connection, generation.generation_id) == generation


def test_an_unknown_space_or_generation_is_said(
    connection: postgres.Connection, settings: Settings
) -> None:
    with pytest.raises(SpaceMismatchError, match="no vector space"):
        ensure_generation(connection, "f" * 16, index_parameters(settings))
    with pytest.raises(NothingToDoError, match="no search generation"):
        find_generation(connection, "f" * 16)


def test_publishing_moves_one_pointer_and_is_audited(
    connection: postgres.Connection, generation: Generation, other: Generation
) -> None:
    assert published_generation(connection) is None
    assert publish(connection, generation.generation_id, {"state": "1"}, "ann", "first")
    assert publish(connection, other.generation_id, {"state": "1"}, "bob", "better")
    served = published_generation(connection)
    assert served is not None
    assert served.generation_id == other.generation_id
    assert find_generation(connection, generation.generation_id).state == "retired"
    assert audit(connection) == [
        ("ann", "publish", f"search_generation:{generation.generation_id}", "first"),
        ("bob", "publish", f"search_generation:{other.generation_id}", "better"),
    ]


def test_publishing_again_only_refreshes_the_evaluation(
    connection: postgres.Connection, generation: Generation
) -> None:
    publish(connection, generation.generation_id, {"state": "1"}, "ann", "first")
    assert not publish(connection, generation.generation_id, {"state": "2"}, "ann", "again")
    served = published_generation(connection)
    assert served is not None
    assert served.evaluation == {"state": "2"}
    assert len(audit(connection)) == 1


def test_another_fusion_of_what_is_served_is_audited(
    connection: postgres.Connection, generation: Generation
) -> None:
    before, after = asdict(DEFAULT_FUSION), asdict(Fusion("rrf", 0.5))
    gate = Gate("a_gate", "inconclusive", "cannot tell", {"queries": 3})
    identity = generation.generation_id
    publish(connection, identity, {"fusion": before}, "ann", "first", gates=[gate])
    publish(connection, identity, {"fusion": before, "state": "2"}, "run", "edited")
    publish(connection, identity, {"fusion": after}, "run", "judged again", gates=[gate])
    rows = connection.execute(
        "select action, reason, details from model_audit_logs order by entry_id"
    ).fetchall()
    said = {"name": "a_gate", "outcome": "inconclusive", "said": "cannot tell"}
    gates = [{**said, "figures": {"queries": 3}}]
    first = {"space_id": generation.space_id, "previous": None, "fusion": before, "gates": gates}
    tuned = {"fusion": after, "previous_fusion": before, "gates": gates}
    assert rows == [("publish", "first", first), ("tune", "judged again", tuned)]


def test_what_was_not_measured_is_not_published(
    connection: postgres.Connection, generation: Generation
) -> None:
    with pytest.raises(GateError, match="never measured"):
        publish(connection, generation.generation_id, {}, "ann", "hurry")
    with pytest.raises(NothingToDoError):
        publish(connection, "f" * 16, {"state": "1"}, "ann", "typo")
    assert published_generation(connection) is None
    assert audit(connection) == []


def test_the_database_itself_admits_one_published_generation(
    connection: postgres.Connection, generation: Generation, other: Generation
) -> None:
    publish(connection, generation.generation_id, {"state": "1"}, "ann", "first")
    with pytest.raises(UniqueViolation):
        connection.execute(
            "update search_generations set state = 'published' where generation_id = %s",
            [other.generation_id],
        )


def test_only_publishing_changes_the_fusion_that_is_served(
    connection: postgres.Connection, generation: Generation
) -> None:
    """A measurement that a check may yet refuse is kept apart."""
    tuned = Fusion("zscore", 0.6, feedback=True)
    first, fresh = {"fusion": {"keyword_weight": 0.5}}, {"fusion": asdict(tuned)}
    publish(connection, generation.generation_id, first, "ann", "first")
    record_evaluation(connection, generation.generation_id, fresh)
    waiting = find_generation(connection, generation.generation_id)
    assert (waiting.evaluation, waiting.measured) == (first, fresh)
    assert waiting.fusion == Fusion(keyword_weight=0.5)
    publish(connection, generation.generation_id, fresh, "ann", "checked")
    served = find_generation(connection, generation.generation_id)
    assert served.fusion == tuned


def test_a_reader_never_sees_none_or_two(
    connection: postgres.Connection, postgres_url: str, generation: Generation, other: Generation
) -> None:
    """While one connection flips the pointer, another always reads exactly one generation."""
    from pathlib import Path
    from threading import Event, Thread

    publish(connection, generation.generation_id, {"state": "1"}, "ann", "first")
    done, seen, wrong = Event(), set[str](), []

    def read() -> None:
        with postgres.connect(postgres_url, Path()) as reader:
            while not done.is_set():
                served = published_generation(reader)
                if served is None:
                    wrong.append("nothing published")
                else:
                    seen.add(served.generation_id)

    reading = Thread(target=read)
    reading.start()
    try:
        for _ in range(30):
            for each in (other, generation):
                publish(connection, each.generation_id, {"state": "1"}, "ann", "flip")
    finally:
        done.set()
        reading.join()
    assert not wrong
    assert seen == {generation.generation_id, other.generation_id}
