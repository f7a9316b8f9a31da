"""Publishing a generation: the pointer, what is recorded of it, and two who publish at once."""

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from ml_assets.errors import GateError, NothingToDoError
from ml_assets.releases.gates import Gate
from ml_assets.releases.holds import HOLDS
from ml_assets.releases.pointer import list_releases, present_parts
from ml_assets.search.evaluation.measurement import read_measurements, record_measurement
from ml_assets.search.generation import find_generation, published_generation
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.search.model import DEFAULT_FUSION, Fusion, Generation
from ml_assets.search.publishing.publish import (
    _publish,
    publish_by_hand,
    publish_measured,
    publishing_gates,
    serve,
)
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.monitoring.alerting.examples import critical_alert
from ml_assets_tests.search.corpus import generation_of
from ml_assets_tests.search.measurements import measurement, publish, served


@pytest.fixture
def other(connection: postgres.Connection, settings: Settings) -> Generation:
    return generation_of(connection, settings.model_copy(update={"hnsw_m": 24}))


def audit(connection: postgres.Connection) -> list[tuple[str, str, str, str]]:
    return connection.execute(
        "select actor, action, subject, reason from model_audit_logs order by entry_id"
    ).fetchall()


def test_publishing_moves_one_pointer_and_is_audited(
    connection: postgres.Connection, generation: Generation, other: Generation
) -> None:
    assert published_generation(connection) is None
    assert publish(connection, generation, "ann", "first")
    assert publish(connection, other, "bob", "better")
    assert published_generation(connection) == other
    parts = present_parts(connection)
    assert (parts.space_id, parts.generation_id) == (other.space_id, other.generation_id)
    assert (parts.model_version, parts.feature_views) == (None, {})
    assert audit(connection) == [
        ("ann", "publish", f"search_generation:{generation.generation_id}", "first"),
        ("bob", "publish", f"search_generation:{other.generation_id}", "better"),
    ]


def test_publishing_again_only_refreshes_the_measurement(
    connection: postgres.Connection, generation: Generation
) -> None:
    publish(connection, generation)
    assert not publish(connection, generation, state="2")
    published = read_measurements(connection, generation.generation_id).published
    assert published == measurement(state="2")
    assert len(audit(connection)) == len(list_releases(connection)) == 1


def test_another_fusion_of_what_is_served_is_audited(
    connection: postgres.Connection, generation: Generation
) -> None:
    after = Fusion("rrf", 0.5)
    gate = Gate("a_gate", "cannot tell", "few queries", {"queries": 3})
    serve(connection, generation, measurement(), [gate], "ann", "first")
    serve(connection, generation, measurement(state="2"), [], "run", "edited")
    serve(connection, generation, measurement(fusion=after), [gate], "run", "judged again")
    rows = connection.execute(
        "select action, reason, details from model_audit_logs order by entry_id"
    ).fetchall()
    assert [row[:2] for row in rows] == [("publish", "first"), ("tune", "judged again")]
    first, tuned = (details for _, _, details in rows)
    assert first["gates"] == tuned["gates"] == [asdict(gate)]
    assert first["served"]["generation_id"] == generation.generation_id
    assert first["previous"] is None
    assert tuned["fusion"] == asdict(after)
    assert tuned["previous_fusion"] == first["fusion"] == asdict(DEFAULT_FUSION)


def test_an_open_critical_alert_holds_back_what_is_not_served_already(
    connection: postgres.Connection, settings: Settings, generation: Generation, other: Generation
) -> None:
    def outcomes(asked: Generation) -> dict[str, str]:
        gates = publishing_gates(connection, asked.generation_id, measurement(), settings)
        return {gate.name: gate.outcome for gate in gates}

    publish(connection, generation)
    assert outcomes(other)[HOLDS] == "pass"
    with critical_alert(connection):
        assert outcomes(other)[HOLDS] == "block"
        assert outcomes(generation)[HOLDS] == "pass"
        held = (
            r"model_lost_accuracy/a is open \(open_critical_alerts 1\)\. Mend it, or go on"
            r" with `ml-assets alerts silence model_lost_accuracy/a"
        )
        with pytest.raises(GateError, match=held):
            _publish(connection, Indexes(settings), other, measurement(), "hurry")
        assert served(connection) == generation.generation_id


def test_what_was_not_measured_is_not_published(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> None:
    identity = generation.generation_id
    with pytest.raises(GateError, match="never measured"):
        publish_measured(connection, Indexes(settings), identity, None, "hurry")
    with pytest.raises(GateError, match="never measured"):
        publish_by_hand(connection, Indexes(settings), identity, "hurry")
    # Of another version is as good as none.
    record_measurement(connection, identity, measurement(version=4))
    with pytest.raises(GateError, match="never measured"):
        publish_measured(connection, Indexes(settings), identity, None, "hurry")
    with pytest.raises(NothingToDoError, match="no search generation"):
        publish_measured(connection, Indexes(settings), "f" * 16, None, "typo")
    assert published_generation(connection) is None
    assert audit(connection) == []


def test_only_publishing_changes_the_fusion_that_is_served(
    connection: postgres.Connection, generation: Generation
) -> None:
    """A measurement that a check may yet refuse is kept apart."""
    tuned = Fusion("zscore", 0.6, feedback=True)
    first, fresh = measurement(fusion=Fusion(keyword_weight=0.5)), measurement(fusion=tuned)
    identity = generation.generation_id
    serve(connection, generation, first, [], "ann", "first")
    record_measurement(connection, identity, fresh)
    measured = read_measurements(connection, identity)
    assert (measured.published, measured.latest) == (first, fresh)
    assert find_generation(connection, identity).fusion == Fusion(keyword_weight=0.5)
    serve(connection, generation, fresh, [], "ann", "checked")
    assert find_generation(connection, identity).fusion == tuned


def test_a_reader_never_sees_none_or_two(
    connection: postgres.Connection, postgres_url: str, generation: Generation, other: Generation
) -> None:
    """While one connection flips the pointer, another always reads exactly one generation."""
    publish(connection, generation)
    done, seen, wrong = Event(), set[str](), []

    def read() -> None:
        with postgres.connect(postgres_url, Path()) as reader:
            while not done.is_set():
                published = published_generation(reader)
                if published is None:
                    wrong.append("nothing published")
                else:
                    seen.add(published.generation_id)

    reading = Thread(target=read)
    reading.start()
    try:
        for _ in range(30):
            for each in (other, generation):
                publish(connection, each)
    finally:
        done.set()
        reading.join()
    assert not wrong
    assert seen == {generation.generation_id, other.generation_id}


def test_two_who_publish_at_once_take_turns(
    connection: postgres.Connection, postgres_url: str, generation: Generation, other: Generation
) -> None:
    """No move is lost: every one is a release of its own, without a gap between them."""
    together = Barrier(2)

    def flip(turns: list[Generation]) -> None:
        with postgres.connect(postgres_url, Path()) as own:
            together.wait()
            for each in turns * 10:
                publish(own, each)

    publishers = [
        Thread(target=flip, args=[turns]) for turns in ([generation, other], [other, generation])
    ]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    releases = list_releases(connection)[::-1]
    assert len(releases) == len(audit(connection)) > 2
    for before, after in pairwise(releases):
        assert before.served_until == after.served_from
        assert before.parts.generation_id != after.parts.generation_id
    assert releases[-1].parts.generation_id == served(connection)
