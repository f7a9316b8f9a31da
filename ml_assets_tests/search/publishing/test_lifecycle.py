"""What happens to generations: two are kept current, one is served."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from ml_assets.documents.collections import documents_version
from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.embeddings.refresh import forget_outdated_vectors
from ml_assets.errors import GateError, NothingToDoError
from ml_assets.releases import pointer
from ml_assets.releases.audit import Entry
from ml_assets.releases.pointer import list_releases, withdrawals
from ml_assets.search.answering.engine import open_engine, search
from ml_assets.search.evaluation.measurement import (
    Measurement,
    read_measurements,
    record_measurement,
)
from ml_assets.search.indexes.kinds import Indexes
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import Generation
from ml_assets.search.publishing import publish as publishing
from ml_assets.search.publishing.lifecycle import generations_to_sync
from ml_assets.search.publishing.listing import differing, list_generations
from ml_assets.search.publishing.publish import publish_by_hand
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource
from ml_assets_tests.search.corpus import Doc, fill, generation_of, ids, put, remove, sync_all
from ml_assets_tests.search.generations import DOCS, OLD
from ml_assets_tests.search.measurements import back, measurement, publish, served


@pytest.fixture
def other(connection: postgres.Connection, settings: Settings) -> Generation:
    return generation_of(connection, settings.model_copy(update={"hnsw_m": 24}))


def test_the_served_generation_follows_beside_the_current_one(
    connection: postgres.Connection, generation: Generation, other: Generation
) -> None:
    def followed(current: Generation) -> list[str]:
        return [one.generation_id for one in generations_to_sync(connection, current)]

    assert followed(generation) == [generation.generation_id]
    publish(connection, generation)
    assert followed(generation) == [generation.generation_id]
    assert followed(other) == [other.generation_id, generation.generation_id]


def test_vectors_of_a_text_that_was_changed_are_forgotten_in_the_old_space_alone(
    connection: postgres.Connection, older: Generation
) -> None:
    changed = hashlib.sha256(b"changed").digest()
    connection.execute("update chunks set text_hash = %s where chunk_id = 'd3#0'", [changed])
    assert forget_outdated_vectors(connection, older.space_id) == 1
    assert forget_outdated_vectors(connection, older.space_id) == 0
    left = connection.execute(
        "select space_id, count(*) from document_embeddings group by space_id"
    ).fetchall()
    assert dict(left) == {SPACE.space_id: 20, OLD.space_id: 19}


JUDGED_GATE = "hybrid_is_not_worse_than_published"
GATES = (
    "vector_indexes_agree_with_exact_search",
    "indexes_reach_their_chunks",
    JUDGED_GATE,
    "no_critical_alert_is_open",
    "indexes_hold_the_live_chunks",
)


@pytest.fixture
def both(
    connection: postgres.Connection, settings: Settings, generation: Generation, other: Generation
) -> tuple[Generation, Generation]:
    """Two generations of one space: the first was replaced by the second."""
    fill(connection, DOCS)
    for each in (generation, other):
        sync_all(connection, settings, each)
        record_measurement(connection, each.generation_id, measurement())
        publish(connection, each)
    return generation, other


def last_audit(connection: postgres.Connection) -> tuple[str, ...]:
    rows = connection.execute(
        "select actor, action, subject, reason from model_audit_logs where action <> 'anchor'"
        " order by entry_id desc limit 1"
    )
    return tuple(rows.fetchall()[0])


def test_a_rollback_serves_the_one_before_with_all_that_is_live(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    first, second = both
    put(connection, "new", Doc(("a zebra",), "zebra"))
    remove(connection, "d0")
    target = back(connection, settings, "it got worse")
    assert target.parts.generation_id == served(connection) == first.generation_id
    assert last_audit(connection) == (
        *("tester", "rollback"),
        *(f"release:{target.release_id}", "it got worse"),
    )
    withdrawn = withdrawals(connection, "generation_id")
    assert withdrawn.keys() == {second.generation_id}
    left = withdrawn[second.generation_id]
    assert (left.actor, left.reason) == ("tester", "it got worse")
    with open_engine(connection, Indexes(settings)) as engine:
        assert search(engine, "a zebra", HashEncoder()).hits[0].document_id == "new"
        assert ids(engine.keyword) == ids(engine.vector)
        assert "d0#0" not in ids(engine.keyword)
    # What was withdrawn is not rolled back to by itself, and is served again by name.
    with pytest.raises(NothingToDoError, match="nothing else was served before"):
        back(connection, settings, "again")
    back(connection, settings, "changed my mind", second.generation_id)
    assert served(connection) == second.generation_id
    assert withdrawals(connection, "generation_id").keys() == {first.generation_id}


def test_a_rollback_that_cannot_be_is_refused_in_one_line(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    first, second = both
    with pytest.raises(NothingToDoError, match="names what is served already"):
        back(connection, settings, "typo", second.generation_id)
    connection.execute(
        "update search_generations set dropped_at = now() where generation_id = %s",
        [first.generation_id],
    )
    with pytest.raises(NothingToDoError, match="were dropped"):
        back(connection, settings, "too late")
    assert served(connection) == second.generation_id
    assert withdrawals(connection, "generation_id") == {}


def test_a_space_that_lacks_vectors_is_refused_with_their_number(
    connection: postgres.Connection, settings: Settings, older: Generation, generation: Generation
) -> None:
    publish(connection, older)
    publish(connection, generation)
    put(connection, "new", Doc(("a zebra", "two zebras")))
    with pytest.raises(
        GateError, match=r"lacks the vectors of 1 of 21 live documents\. Set .*'hash'"
    ):
        back(connection, settings, "it got worse")
    assert served(connection) == generation.generation_id
    remove(connection, "new")
    assert back(connection, settings, "worse").parts.generation_id == older.generation_id


def test_publishing_by_hand_asks_the_gates(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    first, second = both
    back(connection, settings, "it got worse")
    decision = publish_by_hand(connection, Indexes(settings), second.generation_id, "judged again")
    assert {gate.outcome for gate in decision.gates} == {"pass"}
    assert served(connection) == second.generation_id
    assert withdrawals(connection, "generation_id") == {}
    documents = documents_version(connection)
    poor = measurement(documents=documents, judged_recall={"pgvector": 0.5})
    record_measurement(connection, first.generation_id, poor)
    with pytest.raises(GateError, match=r"agree_with_exact_search: .*pgvector_judged 0\.5"):
        publish_by_hand(connection, Indexes(settings), first.generation_id, "hurry")
    never = generation_of(connection, settings.model_copy(update={"hnsw_m": 30}))
    with pytest.raises(GateError, match="never measured"):
        publish_by_hand(connection, Indexes(settings), never.generation_id, "hurry")
    assert served(connection) == second.generation_id


JUDGED = tuple(
    JudgedQuery(str(number), f"text number {number}", {f"d{number}": 1}, "reporting")
    for number in range(12)
)


def stale(**changed: Any) -> Measurement:
    """Measured on other documents, with answers worse than those of today."""
    return measurement([0.1] * 12, **changed)


def test_publishing_by_hand_measures_anew_where_the_model_is_the_current_one(
    connection: postgres.Connection,
    settings: Settings,
    both: tuple[Generation, Generation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MemorySource, "judged_queries", lambda _: JUDGED)
    monkeypatch.setattr(publishing, "open_source", lambda *_: MemorySource())
    monkeypatch.setattr(publishing, "load_encoder", lambda _: HashEncoder())
    monkeypatch.setattr(publishing, "current_space", lambda _: SPACE)
    first, second = (each.generation_id for each in both)
    record_measurement(connection, first, stale(judged_recall={"chroma": 0.5}))
    record_measurement(connection, second, stale())
    gates = publish_by_hand(connection, Indexes(settings), first, "judged again").gates
    assert {gate.name: gate.outcome for gate in gates} == dict.fromkeys(GATES, "pass")
    new, old = (read_measurements(connection, each).latest for each in (first, second))
    assert new is not None
    assert old is not None
    assert new.documents == old.documents != "of then"
    assert new.quality.ndcg == old.quality.ndcg
    assert new.quality.ndcg["vector"] == dict.fromkeys(map(str, range(12)), 1.0)
    assert new.judged_recall == {"pgvector": 1.0, "chroma": 1.0}
    assert read_measurements(connection, first).published == new
    assert served(connection) == first
    # Also where nothing changed since the last measurement, which a run would take as it is.
    record_measurement(connection, second, replace(old, reached={"chroma": 0.5}))
    publish_by_hand(connection, Indexes(settings), second, "built anew")
    assert served(connection) == second


def test_without_the_model_what_was_measured_on_other_documents_is_not_compared(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    first, second = (each.generation_id for each in both)
    record_measurement(connection, first, stale(judged_recall={"chroma": 0.5}))
    record_measurement(connection, second, measurement([0.9] * 12, documents="of today"))
    decision = publish_by_hand(connection, Indexes(settings), first, "it is fine")
    gates = {gate.name: gate for gate in decision.gates}
    judged = gates[JUDGED_GATE]
    assert judged.outcome == "cannot tell"
    assert "measured on other documents" in judged.message
    assert judged.numbers["difference"] == pytest.approx(-0.8)
    # The recall on judged queries was that of other documents, too.
    assert "chroma_judged" not in gates["vector_indexes_agree_with_exact_search"].numbers
    assert served(connection) == first


def test_the_audit_log_tells_what_the_gates_said(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    def told() -> dict[str, str]:
        (details,) = connection.execute(
            "select details from model_audit_logs order by entry_id desc limit 1"
        ).fetchall()[0]
        assert all(gate["numbers"] for gate in details["gates"] if gate["name"] != JUDGED_GATE)
        return {gate["name"]: gate["outcome"] for gate in details["gates"]}

    back(connection, settings, "it got worse")
    assert told() == {"indexes_hold_the_live_chunks": "pass"}
    publish_by_hand(connection, Indexes(settings), both[1].generation_id, "judged again")
    assert told() == dict.fromkeys(GATES, "pass")


def test_an_index_that_cannot_be_brought_up_to_date_is_not_published(
    connection: postgres.Connection,
    settings: Settings,
    both: tuple[Generation, Generation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        PgvectorIndex, "revisions", lambda *_: iter([("d0#0", None), ("stray#0", None)])
    )
    with pytest.raises(GateError, match="pgvector lacks 19, has 1 too many and 0 outdated"):
        publish_by_hand(connection, Indexes(settings), both[0].generation_id, "hurry")


def test_generations_are_listed_with_what_sets_them_apart(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    first, second = both
    newest, oldest = list_generations(connection, settings, second.generation_id)
    assert (newest.generation_id, newest.state) == (second.generation_id, "published")
    assert newest.described_by_settings
    assert (newest.published_by, newest.chunks) == ("run", 20)
    assert (newest.differs, newest.drop_at) == ({}, None)
    assert oldest.state == "retired"
    assert oldest.differs == {"pgvector.m": 16, "chroma.m": 16}
    assert oldest.recall == measurement().recall
    assert oldest.retired_at == newest.published_at
    assert oldest.drop_at is not None
    assert oldest.retired_at is not None
    assert (oldest.drop_at - oldest.retired_at).days == 7
    kept = list_generations(connection, settings, first.generation_id)[1]
    assert kept.drop_at is None


def test_a_promotion_does_not_make_a_generation_published_anew(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    before = list_generations(connection, settings, "")[0]
    entry = Entry("trainer", "promote", "model/1", "better")
    pointer.publish(connection, lambda parts: replace(parts, model_version=1), entry)
    assert list_generations(connection, settings, "")[0] == before
    assert len(list_releases(connection)) == 3


def test_while_none_is_published_none_differs_from_it(
    connection: postgres.Connection, settings: Settings
) -> None:
    for m in (16, 24):
        generation_of(connection, settings.model_copy(update={"hnsw_m": m}))
    rows = list_generations(connection, settings, "")
    assert [(row.state, row.differs) for row in rows] == [("built", {}), ("built", {})]


def test_what_only_the_published_one_has_is_a_difference() -> None:
    served = {"pgvector": {"m": 16, "lists": 3}, "faiss": {"index": "flat"}}
    assert differing({"pgvector": {"m": 24}}, served) == {
        "pgvector.m": 24,
        "pgvector.lists": None,
        "faiss": None,
    }
    assert differing(served, {"pgvector": {"m": 16, "lists": 3}}) == {"faiss.index": "flat"}
    assert differing(served, served) == {}


def test_the_commands_tell_what_they_did(
    connection: postgres.Connection,
    settings: Settings,
    postgres_url: str,
    both: tuple[Generation, Generation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from typer.testing import CliRunner

    from ml_assets.cli import app

    first, second = (one.generation_id for one in both)
    monkeypatch.setenv("POSTGRES_URL", postgres_url)
    monkeypatch.setenv("ML_ASSETS_HOME", str(settings.home))
    monkeypatch.setenv("ML_ASSETS_ACTOR", "ann")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, list(arguments))
        return result.exit_code, " ".join(result.output.split())

    code, text = run("rollback", "--reason", "worse")
    assert code == 0
    assert f"search generation {first}, with the vectors of hash; no model." in text
    assert last_audit(connection)[:2] == ("ann", "rollback")
    code, text = run("rollback", "--reason", "again")
    assert code == 1
    assert "nothing else was served before, or it was withdrawn" in text
    code, text = run("search-generations")
    assert code == 0
    assert first in text
    assert "withdrawn" in text
    rows = json.loads(run("search-generations", "--json")[1])
    assert [(row["generation_id"], row["state"]) for row in rows] == [
        (first, "published"),
        (second, "retired"),
    ]
    code, text = run("publish", second, "--reason", "judged again")
    assert code == 0
    assert "pass: indexes_reach_their_chunks" in text
    assert f"{second} is served." in text
    assert served(connection) == second
    code, text = run("rollback", "--reason", "typo", "--to", "77")
    assert code == 1
    assert "--to: there is no release 77" in text


def test_the_releases_tell_what_was_in_production_when_and_why(
    connection: postgres.Connection,
    settings: Settings,
    postgres_url: str,
    both: tuple[Generation, Generation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from typer.testing import CliRunner

    from ml_assets.cli import app

    monkeypatch.setenv("POSTGRES_URL", postgres_url)
    monkeypatch.setenv("ML_ASSETS_HOME", str(settings.home))

    def rows(*arguments: str) -> list[dict[str, Any]]:
        result = CliRunner().invoke(app, ["releases", "--json", *arguments])
        assert result.exit_code == 0, result.output
        told: list[dict[str, Any]] = json.loads(result.output)
        return told

    first, second = (each.generation_id for each in both)
    back(connection, settings, "it got worse")
    newest, *_, oldest = rows()
    assert [row["parts"]["generation_id"] for row in rows()] == [first, second, first]
    assert (newest["actor"], newest["action"], newest["reason"]) == (
        *("tester", "rollback"),
        "it got worse",
    )
    assert newest["served_until"] is None
    assert rows("--at", oldest["served_from"]) == [oldest]
    assert rows("--at", "2001-01-01") == []
    shown = CliRunner().invoke(app, ["releases"])
    assert {"rollback:", "worse"} <= set(shown.output.split())  # in lines of any width
    wrong = CliRunner().invoke(app, ["releases", "--at", "yesterday"])
    assert wrong.exit_code == 1
    assert "--at: 'yesterday' is not a time" in wrong.output
