import shutil
from typing import Any

import dagster as dg
import pytest

from ml_assets.defs.search.assets import current_generation
from ml_assets.defs.search.checks import (
    indexes_are_not_worn,
    indexes_hold_the_live_chunks,
    published_search_answers,
)
from ml_assets.search.evaluation.measurement import record_measurement
from ml_assets.search.indexes import consistency as quality
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.kinds import Indexes, forget_altered, sync_index
from ml_assets.search.model import Generation
from ml_assets.settings import Settings
from ml_assets.stores import chroma, postgres
from ml_assets_tests.fakes import HashEncoder
from ml_assets_tests.graph import by_hand, shown
from ml_assets_tests.search.corpus import Doc, fill, sync_all
from ml_assets_tests.search.measurements import measurement, publish

DOCS = {f"d{number}": Doc((f"This is text number {number}.",), "T") for number in range(5)}


@pytest.fixture
def stores(resources: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The resources that the checks ask for."""
    own = {name: resources[name] for name in ("settings", "postgres")}
    encoder = by_hand(settings, HashEncoder())
    return {**own, "encoder": encoder, "indexes": Indexes(settings)}


@pytest.fixture
def generation(
    connection: postgres.Connection, settings: Settings, stores: dict[str, Any]
) -> Generation:
    fill(connection, DOCS)
    built = current_generation(connection, settings, by_hand(settings, HashEncoder()))
    sync_all(connection, settings, built)
    return built


def three(stores: dict[str, Any]) -> dict[str, Any]:
    return {name: stores[name] for name in ("settings", "encoder", "postgres")}


@pytest.mark.parametrize("damaged", ["nothing", "pgvector", "chroma", "keyword", "table", "title"])
def test_indexes_are_compared_by_what_they_really_hold(
    connection: postgres.Connection,
    settings: Settings,
    stores: dict[str, Any],
    generation: Generation,
    damaged: str,
) -> None:
    if damaged == "pgvector":
        connection.execute("delete from document_embeddings where chunk_id = 'd1#0'")
    elif damaged == "chroma":
        with stores["indexes"].open(connection, generation, "chroma") as index:
            index.remove(["d1#0"])
    elif damaged == "keyword":
        shutil.rmtree(settings.keyword_folder)
    elif damaged == "table":
        connection.execute("update documents set deleted_at = now() where document_id = 'd1'")
    elif damaged == "title":
        connection.execute("update documents set title = 'new' where document_id = 'd1'")
    result = indexes_hold_the_live_chunks(**stores, thorough=False)
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed == (damaged == "nothing")
    if damaged in ("pgvector", "chroma"):
        assert f"| {damaged} | 5 | 4 | 5 | 1 | 0 | 0 | d1#0 |" in shown(result.metadata["indexes"])
    if damaged == "title":
        for kind in ("chroma", "keyword"):
            assert f"| {kind} | 5 | 5 | 5 | 0 | 0 | 1 | d1#0 |" in shown(result.metadata["indexes"])


@pytest.mark.parametrize("damaged", ["nothing", "chroma", "keyword", "title"])
def test_of_a_large_index_the_number_and_the_latest_are_compared(
    connection: postgres.Connection,
    settings: Settings,
    stores: dict[str, Any],
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
    damaged: str,
) -> None:
    monkeypatch.setattr(quality, "COMPARED", 2)
    if damaged == "chroma":
        with stores["indexes"].open(connection, generation, "chroma") as index:
            index.remove(["d1#0"])
    elif damaged == "keyword":
        with stores["indexes"].open(connection, generation, "keyword") as index:
            index.remove(["d1#0"])
    elif damaged == "title":
        connection.execute(
            "update documents set title = 'new', changed_at = now() where document_id = 'd1'"
        )
    result = indexes_hold_the_live_chunks(**stores, thorough=False)
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed == (damaged == "nothing")
    rows = shown(result.metadata["indexes"])
    # Another number: then all are compared, and it is told which one is missing.
    assert ("| 5 | 1 | 0 | 0 | d1#0 |" in rows) == (damaged in ("chroma", "keyword"))
    assert ("| 0 | 0 | 1 | d1#0 |" in rows) == (damaged == "title")


@pytest.mark.parametrize("change", ["vector", "metadata", "one key more"])
def test_what_another_hand_changed_in_chroma_is_told_and_written_again(
    connection: postgres.Connection,
    settings: Settings,
    stores: dict[str, Any],
    generation: Generation,
    change: str,
) -> None:
    assert indexes_hold_the_live_chunks(**stores, thorough=True).passed
    with chroma.connect(None, settings.home) as client:
        collection = client.get_collection(ChromaIndex(client, generation).name)
        if change == "vector":
            other = collection.get(ids=["d2#0"], include=["embeddings"])["embeddings"]
            collection.update(ids=["d1#0"], embeddings=other)
        else:
            collection.update(
                ids=["d1#0"],
                metadatas=[{"collection": "z"} if change == "metadata" else {"more": 1}],
            )
    assert indexes_hold_the_live_chunks(**stores, thorough=False).passed
    result = indexes_hold_the_live_chunks(**stores, thorough=True)
    assert not result.passed
    assert result.metadata["altered_in_chroma"].value == 1
    assert result.metadata["examples"].value == "d1#0"
    with stores["indexes"].open(connection, generation, "chroma") as index:
        forget_altered(connection, index)
        sync_index(connection, index)
    assert indexes_hold_the_live_chunks(**stores, thorough=True).passed


def test_what_is_published_must_answer(
    connection: postgres.Connection,
    settings: Settings,
    stores: dict[str, Any],
    generation: Generation,
) -> None:
    assert not published_search_answers(stores["postgres"], stores["indexes"]).passed
    publish(connection, generation)
    assert published_search_answers(stores["postgres"], stores["indexes"]).passed
    shutil.rmtree(settings.keyword_folder)
    # As on a new host: whoever opens the index makes it.
    assert published_search_answers(stores["postgres"], stores["indexes"]).passed
    [meta] = settings.keyword_folder.rglob("meta.json")
    meta.write_text("damaged")
    result = published_search_answers(stores["postgres"], stores["indexes"])
    assert not result.passed
    assert "keyword" in result.metadata["reason"].value
    connection.execute("update documents set deleted_at = now()")
    result = published_search_answers(stores["postgres"], stores["indexes"])
    assert "no document" in result.metadata["reason"].value


def test_a_worn_index_is_a_warning(
    connection: postgres.Connection, stores: dict[str, Any], generation: Generation
) -> None:
    assert indexes_are_not_worn(**three(stores)).passed
    unreached = measurement(reached={"chroma": 0.5})
    record_measurement(connection, generation.generation_id, unreached)
    connection.execute("update search_index_marks set worn = 100")
    result = indexes_are_not_worn(**three(stores))
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert "| 0.5 | True |" in shown(result.metadata["indexes"])
