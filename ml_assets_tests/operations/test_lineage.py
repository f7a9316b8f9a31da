"""Lineage both ways: what it names is exactly what the stores say, and names that nothing has."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from ml_assets.console.records import lineage as shown
from ml_assets.errors import NothingToDoError, UserError
from ml_assets.features import Table
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.operations.governance.columns import COLUMNS_OF_ACTIVITY
from ml_assets.operations.governance.lineage import KINDS, Stores, trace
from ml_assets.operations.governance.nodes import Lineage, Node
from ml_assets.search.generation import ensure_generation
from ml_assets.search.model import Generation
from ml_assets.stores import clickhouse
from ml_assets.stores.sql import statement
from ml_assets.training.model import TrainingSet
from ml_assets_tests.corpus import Deployment
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.features.own_views import SHOUTING, STATS, WRITTEN
from ml_assets_tests.registry.deciding import decide, register
from ml_assets_tests.search.measurements import publish

DOCUMENT = "document-0007"


@pytest.fixture(scope="module")
def served(trained: tuple[Deployment, TrainingSet]) -> tuple[Stores, Generation, TrainingSet]:
    """Release 1 serves a generation, release 2 the version 1 beside it."""
    deployment, training_set = trained
    connection = deployment.connection
    ((chunker,),) = connection.execute("select chunker from chunkers where is_current").fetchall()
    parameters = {"chunking": {"chunker": chunker}, "pgvector": {}}
    generation = ensure_generation(connection, SPACE.space_id, parameters)
    publish(connection, generation)
    register(trained)
    assert decide(trained).served
    return Stores(connection, deployment.settings), generation, training_set


def names(nodes: Any, kind: str) -> list[str]:
    return [node.name for node in nodes if node.kind == kind]


def one(nodes: Any, kind: str) -> Node:
    (node,) = (node for node in nodes if node.kind == kind)
    return node


def test_a_document_is_in_its_chunks_generation_version_and_their_releases(
    served: tuple[Stores, Generation, TrainingSet],
) -> None:
    stores, generation, training_set = served
    traced = trace(stores, "document", DOCUMENT)
    assert (traced.of.kind, traced.of.name) == ("document", DOCUMENT)
    assert names(traced.made_from, "collection") == ["all"]
    chunks = stores.connection.execute(
        "select chunk_id from current_chunks where document_id = %s", [DOCUMENT]
    ).fetchall()
    assert names(traced.made_into, "chunk") == [chunk for (chunk,) in chunks]
    found = one(traced.made_into, "generation")
    assert found.name == generation.generation_id
    assert found.facts["chunks_of_the_document"] == len(chunks) == 1
    version = one(traced.made_into, "version")
    row = training_set.rows[training_set.rows["document_id"] == DOCUMENT].iloc[0]
    assert version.name == "1"
    assert (version.facts["split"], version.facts["label"]) == (row["split"], row["label"])
    assert names(traced.made_into, "release") == ["2", "1"]


def test_a_version_is_of_its_training_set_with_every_document(
    served: tuple[Stores, Generation, TrainingSet],
) -> None:
    stores, _, training_set = served
    traced = trace(stores, "version", "1")
    assert [each.document_id for each in traced.documents] == list(training_set.rows["document_id"])
    assert [each.split for each in traced.documents] == list(training_set.rows["split"])
    found = one(traced.made_from, "training set")
    count = len(training_set.rows)
    assert found.name == training_set.hash
    assert (found.facts["documents"], found.facts["gone_since"]) == (count, 0)
    assert sum(found.facts[side] for side in ("train", "validation", "test")) == count
    assert names(traced.made_from, "feature view") == list(training_set.feature_views)
    assert one(traced.made_from, "vector space").name == SPACE.space_id
    collection = one(traced.made_from, "collection")
    assert collection == Node("collection", "all", {"documents": count, "chunks": count})
    assert names(traced.made_into, "release") == ["2"]


def test_what_left_since_is_counted(served: tuple[Stores, Generation, TrainingSet]) -> None:
    stores, _, training_set = served
    with stores.connection.transaction(force_rollback=True):
        stores.connection.execute(
            "update documents set deleted_at = now() where document_id = %s", [DOCUMENT]
        )
        traced = trace(stores, "version", "1")
    assert one(traced.made_from, "training set").facts["gone_since"] == 1
    documents = one(traced.made_from, "collection").facts["documents"]
    assert documents == len(training_set.rows) - 1


def test_a_release_and_a_generation_name_each_other(
    served: tuple[Stores, Generation, TrainingSet],
) -> None:
    stores, generation, training_set = served
    release = trace(stores, "release", "2")
    assert names(release.made_from, "generation") == [generation.generation_id]
    assert names(release.made_from, "version") == ["1"]
    assert names(release.made_from, "feature view") == list(training_set.feature_views)
    assert names(release.made_from, "vector space") == [SPACE.space_id]
    assert names(trace(stores, "release", "1").made_from, "version") == []
    traced = trace(stores, "generation", generation.generation_id)
    assert names(traced.made_into, "release") == ["2", "1"]
    assert one(traced.made_from, "chunker").name == generation.chunker


@pytest.fixture(scope="module")
def mapped(served: tuple[Stores, Generation, TrainingSet]) -> Stores:
    """The stores, of which the settings say that the documents came out of a table."""
    spec = "files:rows.csv?text=body&label=topic&group=family&metadata=author"
    stores = served[0]
    return Stores(stores.connection, stores.settings.model_copy(update={"source": spec}))


def test_a_column_of_labels_feeds_filters_counts_and_models(
    mapped: Stores, served: tuple[Stores, Generation, TrainingSet]
) -> None:
    _, generation, training_set = served
    traced = trace(mapped, "column", "topic")
    assert [node.name for node in traced.made_from] == ["files:rows.csv"]
    documents, *others = traced.made_into
    assert documents == Node("table", "documents", {"label": 240}, {"label": ("topic",)})
    assert names(others, "table") == names(others, "vector space") == []
    found = one(others, "generation")
    assert (found.name, found.columns) == (generation.generation_id, {"label": ("label",)})
    view = one(others, "feature view")
    assert (view.name, view.columns) == ("collection_activity_v1", {"label_count": ("label",)})
    trained = one(others, "training set")
    assert (trained.name, trained.columns) == (training_set.hash, {"label": ("label",)})
    version = one(others, "version")
    assert (version.name, version.columns, version.decided_by) == ("1", {}, ("label",))
    assert names(others, "release") == ["2", "1"]


def test_a_column_of_texts_feeds_chunks_vectors_and_features(
    mapped: Stores, served: tuple[Stores, Generation, TrainingSet]
) -> None:
    made = trace(mapped, "column", "body").made_into
    documents, chunks = (node for node in made if node.kind == "table")
    assert documents.columns == {"text": ("body",)}
    assert chunks.columns == {"heading": ("text",), "text": ("text",)}
    assert one(made, "generation").columns.keys() == {"title", "text", "embedding"}
    features = {
        f"{view.name.rpartition('_v')[0]}__{feature}"
        for view in made
        if view.kind == "feature view"
        for feature in view.columns
    }
    own = one(made, "training set").columns.keys() - {"split", "text_hash"}
    assert own == {*served[2].features}
    assert features - own == {
        f"collection_activity__{name}"
        for name in ("chunk_count", "mean_characters", "median_characters")
    }


def test_a_column_of_groups_feeds_models_alone(mapped: Stores) -> None:
    made = trace(mapped, "column", "family").made_into
    assert [node.kind for node in made] == ["table", "training set", "version", "release"]
    assert one(made, "training set").columns == {"group_id": ("group",), "split": ("group",)}
    assert names(made, "release") == ["2"]


def test_a_column_that_no_document_has_feeds_nothing(mapped: Stores) -> None:
    for column, field in (("url", "url"), ("author", "metadata.author")):
        (documents,) = trace(mapped, "column", column).made_into
        assert (documents.facts, documents.columns) == ({field: 0}, {field: (column,)})


def test_a_key_of_metadata_feeds_the_views_that_name_it(
    mapped: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratings = replace(STATS, source=Table("ratings.csv", "author", "at"))
    views = {each.name: each for each in (WRITTEN, SHOUTING, ratings)}
    monkeypatch.setattr("ml_assets.operations.governance.columns.VIEWS", views)
    with mapped.connection.transaction(force_rollback=True):
        mapped.connection.execute(
            'update documents set metadata = \'{"author": "ann"}\' where document_id = %s',
            [DOCUMENT],
        )
        made = trace(mapped, "column", "author").made_into
    of = ("metadata.author",)
    assert [node.name for node in made if node.kind == "feature view"] == ["written_v1", "stats_v1"]
    written, stats = (node for node in made if node.kind == "feature view")
    assert (written.columns, written.decided_by) == (dict.fromkeys(WRITTEN.columns, of), of)
    assert (stats.columns, stats.decided_by) == ({}, of)
    assert one(made, "generation").columns == {"metadata.author": of}
    assert names(made, "version") == []


def test_all_columns_are_told_as_one(mapped: Stores) -> None:
    whole = trace(mapped, "column", "*")
    assert one(whole.made_into[:1], "table").columns == {
        "document_id": ("id",),
        "text": ("body", "title"),
        "title": ("title",),
        "label": ("topic",),
        "url": ("url",),
        "group": ("family",),
        "created_at": ("created_at",),
        "metadata.author": ("author",),
    }
    decided = one(whole.made_into, "version").decided_by
    assert {*decided} == {"document_id", "text", "label", "group"}
    with pytest.raises(NothingToDoError, match=r"no column 'label' is read.*Read are: id, body"):
        trace(mapped, "column", "label")


ALTERED = {
    "label": "label = document_id",
    "text": "text = text || text",
    "title": "title = 'T'",
    "url": "url = 'u'",
    "metadata.author": 'metadata = \'{"author": "ann"}\'',
}


@pytest.mark.parametrize("field", ALTERED)
def test_features_of_collections_change_with_the_fields_that_are_told(
    mapped: Stores, field: str
) -> None:
    query = statement("postgres/documents/activity")
    with mapped.connection.transaction(force_rollback=True):
        (before,) = mapped.connection.execute(query).fetchall()
        mapped.connection.execute(f"update documents set {ALTERED[field]}")
        (after,) = mapped.connection.execute(query).fetchall()
    values = zip(COLLECTION_ACTIVITY.columns, before[5:], after[5:], strict=True)
    chunked = {"chunk_count"}  # of the next run
    told = {name for name, of in COLUMNS_OF_ACTIVITY.items() if field in of}
    assert {name for name, old, new in values if old != new} == told - chunked


def test_the_table_shows_what_each_is_made_of(mapped: Stores) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    for part in shown(trace(mapped, "column", "family")):
        console.print(part)
    printed = console.export_text()
    assert "group of family" in printed
    assert "group_id, split of group" in printed
    assert "as a whole by group" in printed


@pytest.fixture
def predicted(served: tuple[Stores, Generation, TrainingSet]) -> Stores:
    stores = served[0]
    at = datetime.now(UTC)
    row = (at.date(), "w", 1, at, "asked", 0, 2, "document_classifier", 1, "h", "sport", 0.875)
    columns = "day writer sequence at request_id position release_id model version text_hash"
    columns += " label probability"
    with clickhouse.connect(None, stores.settings.home) as client:
        client.insert("prediction_log", [row], column_names=columns.split())
    return stores


def test_a_prediction_leads_to_its_release_version_and_training_set(
    predicted: Stores, served: tuple[Stores, Generation, TrainingSet]
) -> None:
    traced = trace(predicted, "prediction", "asked")
    assert traced.of.facts["labels"] == "sport 0.875"
    assert [node.kind for node in traced.made_from[:3]] == ["release", "version", "training set"]
    assert [node.name for node in traced.made_from[:3]] == ["2", "1", served[2].hash]
    with pytest.raises(NothingToDoError, match="no prediction of a request 'other'"):
        trace(predicted, "prediction", "other")


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("document", "nobody", "no run ever saw a document 'nobody'"),
        ("version", "2", "no version '2'"),
        ("version", "one", "no version 'one'"),
        ("version", "9" * 30, "no version '999"),
        ("version", "²", "no version '²'"),
        ("release", "3", "no release '3'"),
        ("release", "0x1", "no release '0x1'"),
        ("generation", "none", "no generation 'none'"),
    ],
)
def test_a_name_that_nothing_has_is_said(
    served: tuple[Stores, Generation, TrainingSet], kind: str, name: str, said: str
) -> None:
    with pytest.raises(NothingToDoError, match=said):
        trace(served[0], kind, name)


def test_a_kind_that_is_none_is_said(served: tuple[Stores, Generation, TrainingSet]) -> None:
    with pytest.raises(UserError, match=f"nothing is a 'model'\\. Known: {', '.join(KINDS)}"):
        trace(served[0], "model", "1")


def test_a_long_list_is_cut_and_says_so() -> None:
    many = [Node("chunk", str(number)) for number in range(30)]
    parts = [*shown(Lineage(Node("document", "a"), [], many))]
    assert len(parts) == 3
    assert "Made from: nothing" in str(parts[1])
