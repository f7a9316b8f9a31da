"""What happens to generations: two are kept current, one is served."""

import hashlib
import json
from typing import Any

import pytest

from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.errors import GateError, NothingToDoError
from ml_assets.search.answering.engine import open_engine, search
from ml_assets.search.generation import (
    find_generation,
    publish,
    published_generation,
    record_evaluation,
)
from ml_assets.search.indexes.ledger import version
from ml_assets.search.indexes.opening import Indexes
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import Generation
from ml_assets.search.publishing import publish as publishing
from ml_assets.search.publishing.lifecycle import (
    forget_outdated_vectors,
    generations_to_sync,
    rollback,
)
from ml_assets.search.publishing.listing import differing, list_generations
from ml_assets.search.publishing.publish import publish_gated
from ml_assets.settings import Settings
from ml_assets.stores import postgres
from ml_assets_tests.fakes import SPACE, HashEncoder, MemorySource
from ml_assets_tests.search.corpus import Doc, fill, generation_of, ids, put, remove, sync_all
from ml_assets_tests.search.generations import DOCS, GOOD, OLD


@pytest.fixture
def other(connection: postgres.Connection, settings: Settings) -> Generation:
    return generation_of(connection, settings.model_copy(update={"hnsw_m": 24}))


def test_the_served_generation_follows_beside_the_current_one(
    connection: postgres.Connection, generation: Generation, other: Generation
) -> None:
    def followed(current: Generation) -> list[str]:
        return [one.generation_id for one in generations_to_sync(connection, current)]

    assert followed(generation) == [generation.generation_id]
    publish(connection, generation.generation_id, {"state": "1"}, "ann", "first")
    assert followed(generation) == [generation.generation_id]
    assert followed(other) == [other.generation_id, generation.generation_id]


def test_vectors_of_a_text_that_was_changed_are_forgotten_in_the_old_space_alone(
    connection: postgres.Connection, older: Generation
) -> None:
    changed = hashlib.sha256(b"changed").digest()
    connection.execute("update chunks set text_hash = %s where chunk_id = 'd3#0'", [changed])
    assert forget_outdated_vectors(connection, older) == 1
    assert forget_outdated_vectors(connection, older) == 0
    left = connection.execute(
        "select space_id, count(*) from document_embeddings group by space_id"
    ).fetchall()
    assert dict(left) == {SPACE.space_id: 20, OLD.space_id: 19}


JUDGED_GATE = "hybrid_is_not_worse_than_published"
GATES = (
    "vector_indexes_agree_with_exact_search",
    "indexes_reach_their_chunks",
    JUDGED_GATE,
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
        record_evaluation(connection, each.generation_id, GOOD)
        publish(connection, each.generation_id, GOOD, "run", "run 1")
    return generation, other


def served(connection: postgres.Connection) -> str | None:
    found = published_generation(connection)
    return found.generation_id if found else None


def last_audit(connection: postgres.Connection) -> tuple[str, ...]:
    rows = connection.execute(
        "select actor, action, subject, reason from model_audit_logs order by entry_id desc limit 1"
    )
    return tuple(rows.fetchall()[0])


def test_a_rollback_serves_the_one_before_with_all_that_is_live(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    first, second = both
    put(connection, "new", Doc(("a zebra",), "zebra"))
    remove(connection, "d0")
    rolled = rollback(connection, settings, "it got worse")
    assert rolled.generation_id == served(connection) == first.generation_id
    assert last_audit(connection) == (
        *("tester", "rollback"),
        *(f"search_generation:{first.generation_id}", "it got worse"),
    )
    withdrawn = find_generation(connection, second.generation_id)
    assert withdrawn.state == "retired"
    assert withdrawn.withdrawn is not None
    assert (withdrawn.withdrawn["actor"], withdrawn.withdrawn["reason"]) == (
        "tester",
        "it got worse",
    )
    with open_engine(connection, Indexes(settings)) as engine:
        assert search(engine, "a zebra", HashEncoder()).hits[0].document_id == "new"
        assert ids(engine.keyword) == ids(engine.vector)
        assert "d0#0" not in ids(engine.keyword)
    # What was withdrawn is not rolled back to by itself, and is served again by name.
    with pytest.raises(NothingToDoError, match="no other generation was published before"):
        rollback(connection, settings, "again")
    rollback(connection, settings, "changed my mind", second.generation_id)
    assert served(connection) == second.generation_id
    assert find_generation(connection, second.generation_id).withdrawn is None


def test_the_active_release_says_what_is_served(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    connection.execute(
        "insert into releases (space_id, generation_id, feature_views, actor, reason)"
        " values (%s, %s, '{}', 'a', 'r')",
        [SPACE.space_id, both[1].generation_id],
    )
    rollback(connection, settings, "it got worse")
    rows = connection.execute("select generation_id from releases where active").fetchall()
    assert rows == [(both[0].generation_id,)]


def test_a_rollback_that_cannot_be_is_refused_in_one_line(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    first, second = both
    with pytest.raises(NothingToDoError, match="is the published one"):
        rollback(connection, settings, "typo", second.generation_id)
    with pytest.raises(NothingToDoError, match="no search generation"):
        rollback(connection, settings, "typo", "f" * 16)
    never = generation_of(connection, settings.model_copy(update={"hnsw_m": 30}))
    with pytest.raises(NothingToDoError, match="never published"):
        rollback(connection, settings, "typo", never.generation_id)
    connection.execute(
        "update search_generations set state = 'dropped' where generation_id = %s",
        [first.generation_id],
    )
    with pytest.raises(NothingToDoError, match="were dropped"):
        rollback(connection, settings, "too late")
    assert served(connection) == second.generation_id
    connection.execute("update search_generations set state = 'retired'")
    with pytest.raises(NothingToDoError, match="no generation is published"):
        rollback(connection, settings, "nothing there")


def test_a_space_that_lacks_vectors_is_refused_with_their_number(
    connection: postgres.Connection, settings: Settings, older: Generation, generation: Generation
) -> None:
    publish(connection, older.generation_id, GOOD, "run", "first")
    publish(connection, generation.generation_id, GOOD, "run", "next")
    put(connection, "new", Doc(("a zebra", "two zebras")))
    with pytest.raises(GateError, match=r"lacks the vectors of 2 of 22 live chunks\. Set .*'hash'"):
        rollback(connection, settings, "it got worse")
    assert served(connection) == generation.generation_id
    remove(connection, "new")
    assert rollback(connection, settings, "worse").generation_id == older.generation_id


def test_publishing_by_hand_asks_the_gates(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    first, second = both
    rollback(connection, settings, "it got worse")
    gates = publish_gated(connection, settings, second.generation_id, "judged again")
    assert {gate.outcome for gate in gates} == {"passed"}
    assert served(connection) == second.generation_id
    assert find_generation(connection, second.generation_id).withdrawn is None
    documents = version(connection, first, "keyword")
    poor = {**GOOD, "documents": documents, "judged_recall": {"chroma": 0.5}}
    record_evaluation(connection, first.generation_id, poor)
    with pytest.raises(GateError, match=r"agree_with_exact_search: .*chroma_judged 0\.5"):
        publish_gated(connection, settings, first.generation_id, "hurry")
    never = generation_of(connection, settings.model_copy(update={"hnsw_m": 30}))
    with pytest.raises(GateError, match="never measured"):
        publish_gated(connection, settings, never.generation_id, "hurry")
    assert served(connection) == second.generation_id


JUDGED = tuple(
    JudgedQuery(str(number), f"text number {number}", {f"d{number}": 1}, "reporting")
    for number in range(12)
)


def stale(**changed: Any) -> dict[str, Any]:
    """Measured on other documents, with answers worse than those of today."""
    ndcg = {"hybrid": dict.fromkeys(map(str, range(12)), 0.1)}
    return {**GOOD, "documents": "of then", "ndcg": ndcg, **changed}


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
    first, second = (one.generation_id for one in both)
    record_evaluation(connection, first, stale(judged_recall={"chroma": 0.5}))
    record_evaluation(connection, second, stale())
    gates = publish_gated(connection, settings, first, "judged again")
    assert {gate.name: gate.outcome for gate in gates} == dict.fromkeys(GATES, "passed")
    new, old = (find_generation(connection, one).measured for one in (first, second))
    assert new is not None
    assert old is not None
    assert new["documents"] == old["documents"] != "of then"
    assert new["ndcg"] == old["ndcg"]
    assert new["ndcg"]["vector"] == dict.fromkeys(map(str, range(12)), 1.0)
    assert new["judged_recall"] == {"pgvector": 1.0, "chroma": 1.0}
    assert find_generation(connection, first).evaluation == new
    assert served(connection) == first
    # Also where nothing changed since the last measurement, which a run would take as it is.
    record_evaluation(connection, second, {**old, "reached": {"chroma": 0.5}})
    publish_gated(connection, settings, second, "built anew")
    assert served(connection) == second


def test_without_the_model_what_was_measured_on_other_documents_is_not_compared(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    first, second = (one.generation_id for one in both)
    record_evaluation(connection, first, stale(judged_recall={"chroma": 0.5}))
    better = {"hybrid": dict.fromkeys(map(str, range(12)), 0.9)}
    record_evaluation(connection, second, stale(documents="of today", ndcg=better))
    gates = {one.name: one for one in publish_gated(connection, settings, first, "it is fine")}
    judged = gates[JUDGED_GATE]
    assert judged.outcome == "inconclusive"
    assert "measured on other documents" in judged.said
    assert judged.figures["difference"] == pytest.approx(-0.8)
    # The recall on judged queries was that of other documents, too.
    assert "chroma_judged" not in gates["vector_indexes_agree_with_exact_search"].figures
    assert served(connection) == first


def test_the_audit_log_tells_what_the_gates_said(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    def told() -> dict[str, str]:
        (details,) = connection.execute(
            "select details from model_audit_logs order by entry_id desc limit 1"
        ).fetchall()[0]
        assert all(gate["figures"] for gate in details["gates"] if gate["name"] != JUDGED_GATE)
        return {gate["name"]: gate["outcome"] for gate in details["gates"]}

    rollback(connection, settings, "it got worse")
    assert told() == {"indexes_hold_the_live_chunks": "passed"}
    publish_gated(connection, settings, both[1].generation_id, "judged again")
    assert told() == dict.fromkeys(GATES, "passed")


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
        publish_gated(connection, settings, both[0].generation_id, "hurry")


def test_generations_are_listed_with_what_sets_them_apart(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    first, second = both
    newest, oldest = list_generations(connection, settings, second.generation_id)
    assert (newest["generation_id"], newest["state"]) == (second.generation_id, "published")
    assert newest["described_by_settings"]
    assert (newest["published_by"], newest["chunks"]) == ("run", 20)
    assert (newest["differs"], newest["drop_at"]) == ({}, None)
    assert oldest["differs"] == {"pgvector.m": 16, "chroma.m": 16}
    assert oldest["recall"] == GOOD["recall"]
    assert (oldest["drop_at"] - oldest["retired_at"]).days == 7
    kept = list_generations(connection, settings, first.generation_id)[1]
    assert kept["drop_at"] is None


def test_while_none_is_published_none_differs_from_it(
    connection: postgres.Connection, settings: Settings, both: tuple[Generation, Generation]
) -> None:
    connection.execute("update search_generations set state = 'retired', retired_at = now()")
    rows = list_generations(connection, settings, both[1].generation_id)
    assert [row["differs"] for row in rows] == [{}, {}]


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

    assert run("rollback", "--reason", "worse") == (
        0,
        f"Generation {first} is published; its vectors are those of hash.",
    )
    assert last_audit(connection)[:2] == ("ann", "rollback")
    code, said = run("rollback", "--reason", "again")
    assert code == 1
    assert "no other generation was published before" in said
    code, said = run("search-generations")
    assert code == 0
    assert first in said
    assert "withdrawn" in said
    rows = json.loads(run("search-generations", "--json")[1])
    assert [(row["generation_id"], row["state"]) for row in rows] == [
        (first, "published"),
        (second, "retired"),
    ]
    code, said = run("publish", second, "--reason", "judged again")
    assert code == 0
    assert "passed: indexes_reach_their_chunks" in said
    assert f"Generation {second} is published." in said
    assert served(connection) == second
