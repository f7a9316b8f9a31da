from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Event, Thread
from time import sleep
from typing import Any

import dagster as dg
import pytest
from pgvector import HalfVector

from ml_assets.defs.build import build_definitions
from ml_assets.defs.resources import PostgresResource
from ml_assets.defs.search import assets as search_assets
from ml_assets.defs.search import checks as search_checks
from ml_assets.defs.search.assets import (
    INDEX_ASSETS,
    published_search,
    search_evaluation,
)
from ml_assets.documents.model import Document
from ml_assets.documents.sources.base import JudgedQuery
from ml_assets.embeddings.space import current_chunker
from ml_assets.errors import GateError
from ml_assets.releases.audit import read_entries
from ml_assets.search.answering.engine import open_engine, search
from ml_assets.search.evaluation.measurement import kept_measurements, read_measurements
from ml_assets.search.generation import published_generation
from ml_assets.search.indexes import consistency as quality
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.contract import Entry
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.indexes.kinds import KINDS, Indexes
from ml_assets.search.model import Generation
from ml_assets.search.publishing import lifecycle
from ml_assets.settings import Settings
from ml_assets.stores import chroma
from ml_assets.stores.postgres import Connection
from ml_assets_tests.fakes import HashEncoder, MemorySource
from ml_assets_tests.graph import Run, fake_encoder, shown
from ml_assets_tests.search.corpus import ids
from ml_assets_tests.search.measurements import back, publish

ASSET = dict(zip(KINDS, INDEX_ASSETS, strict=True))
INDEXES = [ASSET[kind] for kind in ("pgvector", "chroma", "keyword")]
SEARCH = [*INDEXES, search_evaluation, published_search]
NAMES = [asset.key.to_user_string() for asset in SEARCH]
CHECKS = [
    search_checks.indexes_hold_the_live_chunks,
    search_checks.search_gates,
    search_checks.indexes_are_not_worn,
    search_checks.published_search_answers,
]
DOCUMENTS = [
    Document(f"d{number}", "a", f"This is text number {number}.", f"Title {number}")
    for number in range(12)
]
RunSearch = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def run_search(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    source: MemorySource,
    materialize: Run,
) -> RunSearch:
    """Materialize the search of a source that is embedded already."""
    source.documents = list(DOCUMENTS)
    materialize()

    def run(
        *, assets: Sequence[dg.AssetsDefinition] = SEARCH, raise_on_error: bool = True
    ) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [*assets, *CHECKS],
            resources=resources,
            instance=instance,
            raise_on_error=raise_on_error,
        )

    return run


def metadata(result: dg.ExecuteInProcessResult, name: str) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node(name)
    return {key: value.value for key, value in event.metadata.items()}


def versions(result: dg.ExecuteInProcessResult) -> dict[str, str | None]:
    return {
        name: (event.tags or {}).get("dagster/data_version")
        for name in NAMES
        for event in result.asset_materializations_for_node(name)
    }


def test_search_is_built_measured_and_published(
    run_search: RunSearch,
    source: MemorySource,
    resources: dict[str, object],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged = (
        JudgedQuery("1", "This is text number 3.", {"d3": 1}, "tuning"),
        JudgedQuery("2", "This is text number 4.", {"d4": 1}, "reporting"),
    )
    monkeypatch.setattr(MemorySource, "judged_queries", lambda _: judged)
    result = run_search()
    for index in INDEXES:
        said = metadata(result, index.key.to_user_string())
        assert (said["added"], said["chunks"]) == (12, 12)
    assert metadata(result, "pgvector_index")["build"] == "in memory"
    evaluation = metadata(result, "search_evaluation")
    assert evaluation["measured"] == "yes"
    assert evaluation["recall_pgvector"] == evaluation["recall_chroma"] == 1
    assert "| hybrid | reporting |" in shown(evaluation["methods"])
    assert "data:image/png;base64," in str(evaluation["metrics_plot"])
    assert metadata(result, "published_search")["pointer_moved"] is True
    gates = shown(metadata(result, "published_search")["gates"])
    assert "| indexes_reach_their_chunks | pass |" in gates
    assert "| indexes_hold_the_live_chunks | pass |" in gates
    assert "expected 12, compared 12, pgvector 12" in gates
    assert {e.check_name: e.passed for e in result.get_asset_check_evaluations()} == {
        key.name: True for check in CHECKS for key in check.check_keys
    }
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    with postgres.connect() as connection:
        served = published_generation(connection)
        assert served is not None
        published = read_measurements(connection, served.generation_id).published
        assert published is not None
        assert published.quality.methods["keyword"]["reporting"]["mrr@10"] == 1
        (kept,) = kept_measurements(connection, datetime.now(UTC))
        assert (kept.generation_id, kept.queries) == (served.generation_id, 2)
        assert kept.quality["keyword"]["mrr@10"] == 1
        assert kept.recall == {"pgvector": 1, "chroma": 1}
        assert 0 < kept.latency["p50_ms"] <= kept.latency["p95_ms"] < 10_000
        audited = connection.execute("select actor, action from model_audit_logs order by entry_id")
        assert audited.fetchall() == [(settings.actor, "publish"), (settings.actor, "anchor")]
        said = str(metadata(result, "published_search")["audit_head"])
        told = read_entries(connection, 2)[0].entry_id
        assert said.startswith(f"{told} ")


def test_a_second_run_does_nothing_and_says_so(run_search: RunSearch, encoder: HashEncoder) -> None:
    first = run_search()
    encoder.texts.clear()
    second = run_search()
    for index in INDEXES:
        said = metadata(second, index.key.to_user_string())
        assert said["did"] == "nothing: it was current"
        assert (said["added"], said["changed"], said["removed"], said["unchanged"]) == (0, 0, 0, 12)
    evaluation = metadata(second, "search_evaluation")
    assert str(evaluation["measured"]).startswith("no: nothing changed")
    # Of the measuring, not of the asset that found it done.
    assert evaluation["seconds"] == metadata(first, "search_evaluation")["seconds"]
    assert metadata(second, "published_search")["pointer_moved"] is False
    assert versions(first) == versions(second)
    assert encoder.texts == []


def test_an_edit_reaches_every_index_and_is_measured_again(
    run_search: RunSearch, source: MemorySource, materialize: Run
) -> None:
    first = run_search()
    source.documents[0] = Document("d0", "a", "Something else entirely.", "Title 0")
    materialize()
    second = run_search()
    for name in ("chroma_index", "keyword_index"):
        said = metadata(second, name)
        assert (said["added"], said["changed"], said["removed"]) == (0, 1, 0)
    assert metadata(second, "search_evaluation")["measured"] == "yes"
    before, after = versions(first), versions(second)
    assert all(before[name] != after[name] for name in NAMES)


def test_other_parameters_make_a_generation_that_replaces_the_old_one(
    run_search: RunSearch, resources: dict[str, object], settings: Settings
) -> None:
    first = metadata(run_search(), "published_search")["generation"]
    resources["settings"] = settings.model_copy(update={"hnsw_ef_construction": 80})
    second = metadata(run_search(), "published_search")
    assert second["generation"] != first
    assert second["pointer_moved"] is True


def test_faiss_is_built_measured_and_served_where_it_is_chosen(
    run_search: RunSearch, resources: dict[str, object], settings: Settings
) -> None:
    chosen = settings.model_copy(update={"vector_index": "faiss-flat"})
    resources["settings"] = chosen
    result = run_search(assets=[ASSET["faiss"], *SEARCH])
    assert metadata(result, "faiss_index")["added"] == 12
    assert metadata(result, "search_evaluation")["recall_faiss"] == 1
    assert {e.check_name: e.passed for e in result.get_asset_check_evaluations()} == {
        key.name: True for check in CHECKS for key in check.check_keys
    }
    (compared,) = (
        e.metadata["indexes"].value
        for e in result.get_asset_check_evaluations()
        if e.check_name == "indexes_hold_the_live_chunks"
    )
    assert "| faiss | 12 | 12 | 12 | 0 | 0 | 0 |" in shown(compared)
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    with postgres.connect() as connection, open_engine(connection, Indexes(chosen)) as engine:
        assert isinstance(engine.vector, FaissIndex)
        embedded = "Title 3\nThis is text number 3."
        found = search(engine, embedded, HashEncoder(), method="vector")
    assert found.hits[0].document_id == "d3"
    again = run_search(assets=[ASSET["faiss"], *SEARCH])
    assert metadata(again, "faiss_index")["did"] == "nothing: it was current"
    assert metadata(again, "published_search")["pointer_moved"] is False


def test_faiss_is_in_the_graph_only_where_it_is_chosen(settings: Settings) -> None:
    evaluation, faiss = dg.AssetKey("search_evaluation"), dg.AssetKey("faiss_index")
    usual = build_definitions(settings).resolve_asset_graph()
    assert faiss not in usual.get_all_asset_keys()
    chosen = settings.model_copy(update={"vector_index": "faiss-ivfpq"})
    graph = build_definitions(chosen).resolve_asset_graph()
    assert graph.get_all_asset_keys() == usual.get_all_asset_keys() | {faiss}
    assert graph.get(evaluation).parent_keys == usual.get(evaluation).parent_keys | {faiss}
    assert graph.get(faiss).parent_keys == {dg.AssetKey("embeddings")}


def test_a_failed_gate_publishes_nothing(
    run_search: RunSearch, resources: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ml_assets.search.indexes.pgvector.index.PgvectorIndex.revisions",
        lambda *_: iter([("d0#0", None), ("stray#0", None)]),
    )
    result = run_search(raise_on_error=False)
    assert not result.success
    checked = {e.check_name: (e.passed, e.severity) for e in result.get_asset_check_evaluations()}
    assert checked["indexes_hold_the_live_chunks"] == (False, dg.AssetCheckSeverity.ERROR)
    assert not result.asset_materializations_for_node("published_search")
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    with postgres.connect() as connection:
        assert published_generation(connection) is None


def test_the_served_generation_stays_current_while_another_is_refused(
    run_search: RunSearch,
    source: MemorySource,
    materialize: Run,
    resources: dict[str, object],
    settings: Settings,
) -> None:
    """An edit reaches what is read, though what the settings describe did not pass its gates."""
    first = metadata(run_search(), "published_search")["generation"]
    changed = {"hnsw_ef_construction": 80, "min_recall": 1.1}
    resources["settings"] = settings.model_copy(update=changed)
    source.documents = [*DOCUMENTS[1:], Document("new", "a", "A word like zebra.", "New")]
    materialize()
    result = run_search(raise_on_error=False)
    assert not result.success
    for name in ("chroma_index", "keyword_index"):
        said = metadata(result, name)
        assert (said["added"], said["removed"]) == (12, 0)
        assert said["served_generation"] == first
        assert (said["served_added"], said["served_removed"]) == (1, 1)
    assert metadata(result, "pgvector_index")["served_chunks"] == 12
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    with (
        postgres.connect() as connection,
        open_engine(connection, Indexes(settings)) as engine,
    ):
        assert engine.generation.generation_id == first
        # It was measured on the same documents, for the comparison; what it serves with stays.
        measured = read_measurements(connection, engine.generation.generation_id)
        assert measured.latest is not None
        assert measured.published is not None
        assert measured.latest.state != measured.published.state
        found = search(engine, "zebra", None, method="keyword")
        assert [hit.document_id for hit in found.hits] == ["new"]
        assert "d0#0" not in ids(engine.keyword)


def test_what_a_person_rolled_back_from_no_run_publishes(
    run_search: RunSearch, resources: dict[str, object], settings: Settings
) -> None:
    first = metadata(run_search(), "published_search")["generation"]
    resources["settings"] = settings.model_copy(update={"hnsw_ef_construction": 80})
    second = metadata(run_search(), "published_search")["generation"]
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    with postgres.connect() as connection:
        back(connection, settings, "it got worse")
        said = metadata(run_search(), "published_search")
        assert (said["generation"], said["pointer_moved"]) == (first, False)
        assert str(said["withdrawn"]).startswith(f"{second} was withdrawn by tester: it got worse")
        # The settings describe another one: that is another matter.
        resources["settings"] = settings.model_copy(update={"hnsw_ef_construction": 90})
        third = metadata(run_search(), "published_search")
        assert third["generation"] not in (first, second)
        assert "withdrawn" not in third


def test_a_run_waits_for_a_rollback_and_does_not_undo_it(
    run_search: RunSearch,
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = metadata(run_search(), "published_search")["generation"]
    resources["settings"] = settings.model_copy(update={"hnsw_ef_construction": 80})
    second = metadata(run_search(), "published_search")["generation"]
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    held, waited = Event(), Event()

    bring = lifecycle.bring_up_to_date

    def bring_up_to_date(*arguments: Any) -> Any:
        held.set()
        waited.wait(3)
        return bring(*arguments)

    def wait(seconds: float) -> None:
        waited.set()
        sleep(seconds)

    def roll_back() -> None:
        with postgres.connect() as connection:
            back(connection, settings, "it got worse")

    monkeypatch.setattr(lifecycle, "bring_up_to_date", bring_up_to_date)
    monkeypatch.setattr("ml_assets.stores.postgres.locks.time.sleep", wait)
    person = Thread(target=roll_back)
    person.start()
    assert held.wait(10)
    result = dg.materialize([published_search], resources=resources, instance=instance)
    person.join()
    said = metadata(result, "published_search")
    assert (said["generation"], said["pointer_moved"]) == (first, False)
    assert str(said["withdrawn"]).startswith(f"{second} was withdrawn by tester: it got worse")


def test_publishing_alone_asks_the_gates_too(
    run_search: RunSearch,
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    settings: Settings,
) -> None:
    """`dagster asset materialize --select published_search` runs no check of the evaluation."""
    run_search()
    resources["settings"] = settings.model_copy(update={"min_recall": 1.1})
    with pytest.raises(GateError, match="vector_indexes_agree_with_exact_search"):
        dg.materialize([published_search], resources=resources, instance=instance)


def test_chunks_of_what_serves_follow_beside_those_of_another_size(
    materialize: Run,
    resources: dict[str, object],
    settings: Settings,
    source: MemorySource,
    encoder: HashEncoder,
    connection: Connection,
) -> None:
    source.documents = list(DOCUMENTS[:2])
    materialize()
    first = search_assets.current_generation(connection, settings, fake_encoder(settings, encoder))
    publish(connection, first)
    changed = settings.model_copy(update={"chunk_tokens": 32, "chunk_overlap": 4})
    resources.update(settings=changed, encoder=fake_encoder(changed, encoder))
    source.documents = list(DOCUMENTS[:3])
    materialize()
    rows = connection.execute(
        "select chunker, is_current, count(*) from chunkers join chunked_documents using (chunker)"
        " group by 1, 2 order by 2"
    ).fetchall()
    now = current_chunker(changed).fingerprint
    assert rows == [(first.chunker, False, 3), (now, True, 3)]


def swap_a_chunk(settings: Settings, generation: Generation) -> None:
    """Chroma holds as many chunks as are live, but another one in the place of d5."""
    with chroma.connect(None, settings.home) as client:
        index = ChromaIndex(client, generation)
        (vector,) = HashEncoder().encode(["stray"])
        stray = Entry("stray#0", b"r", "T", "stray", "a", None, None, {}, HalfVector(vector))
        index.remove(["d5#0"])
        index.upsert([stray])


def test_all_chunks_are_compared_before_the_pointer_moves(
    run_search: RunSearch,
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quality, "COMPARED", 0)
    run_search()
    postgres = resources["postgres"]
    assert isinstance(postgres, PostgresResource)
    with postgres.connect() as connection:
        first = published_generation(connection)
        assert first is not None
        # What is served is only refreshed: a sample is enough, and the check takes it.
        swap_a_chunk(settings, first)
        dg.materialize([published_search], resources=resources, instance=instance)
        changed = settings.model_copy(update={"hnsw_ef_construction": 80})
        resources["settings"] = changed
        dg.materialize([*INDEXES, search_evaluation], resources=resources, instance=instance)
        current = fake_encoder(changed, HashEncoder())
        swap_a_chunk(settings, search_assets.current_generation(connection, changed, current))
        said = "indexes_hold_the_live_chunks: chroma lacks 1, has 1 too many and 0 outdated"
        with pytest.raises(GateError, match=said):
            dg.materialize([published_search], resources=resources, instance=instance)
        assert published_generation(connection) == first


def test_what_changed_since_it_was_measured_is_not_published(
    run_search: RunSearch,
    source: MemorySource,
    materialize: Run,
    instance: dg.DagsterInstance,
    resources: dict[str, object],
) -> None:
    run_search()
    source.documents[0] = Document("d0", "a", "Something else entirely.", "Title 0")
    materialize()
    dg.materialize(INDEXES, resources=resources, instance=instance)
    with pytest.raises(GateError, match=r"changed since it was measured.*`search_evaluation`"):
        dg.materialize([published_search], resources=resources, instance=instance)


def test_a_run_drops_what_was_retired_for_its_time(
    run_search: RunSearch, resources: dict[str, object], settings: Settings
) -> None:
    first = metadata(run_search(), "published_search")["generation"]
    changed = settings.model_copy(update={"hnsw_ef_construction": 80})
    resources["settings"] = changed
    assert "dropped" not in metadata(run_search(), "published_search")
    resources["settings"] = changed.model_copy(update={"keep_generations_days": 0})
    assert metadata(run_search(), "published_search")["dropped"] == first
    assert not (settings.keyword_folder / str(first)).exists()
