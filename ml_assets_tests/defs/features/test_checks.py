from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from ml_assets.defs.features.assets import OnlineConfig, online_features
from ml_assets.defs.features.checks import (
    _checks,
    collection_features_are_as_computed,
    collection_features_are_in_range,
    document_features_are_as_computed,
    document_features_are_in_range,
    every_document_has_one_row,
    no_feature_gives_the_label_away,
    online_equals_offline,
)
from ml_assets.defs.resources import OfflineStoreResource, OnlineStoreResource, PostgresResource
from ml_assets.documents.model import Document
from ml_assets.features import Feature, Query
from ml_assets.features.collections import refresh_collection_features
from ml_assets.features.definition import FeatureView
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.offline import values_version
from ml_assets.features.online import refresh_online
from ml_assets.features.quality import forget_altered
from ml_assets.features.views import views_for
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.settings import Settings
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.features.corpus import load_into
from ml_assets_tests.graph import shown

DOCUMENTS = [
    Document(f"d{n}", "a", f"Some words, and the number {n}.", label=str(n % 2)) for n in range(40)
]


@pytest.fixture
def postgres(postgres_url: str, tmp_path: Path) -> PostgresResource:
    """Documents, chunks, vectors."""
    resource = PostgresResource(url=postgres_url, home=str(tmp_path), actor="tester")
    with resource.connect() as connection:
        load_into(connection, *DOCUMENTS)
    return resource


@pytest.fixture
def duckdb(postgres: PostgresResource, settings: Settings) -> OfflineStoreResource:
    """Offline features of them."""
    resource = OfflineStoreResource(database=str(settings.duckdb_file))
    with postgres.connect() as connection, resource.get_connection() as duck:
        refresh_document_features(connection, duck, SPACE.space_id)
        refresh_collection_features(connection, duck)
    return resource


@pytest.fixture
def online_store(duckdb: OfflineStoreResource, settings: Settings) -> OnlineStoreResource:
    """Their online copy."""
    resource = OnlineStoreResource(home=str(settings.home))
    with duckdb.get_connection() as duck, resource.connect() as online:
        for view in views_for("serving"):
            refresh_online(duck, online, view)
    return resource


def damage(duckdb: OfflineStoreResource, statement: str) -> None:
    with duckdb.get_connection() as duck:
        duck.execute(statement)


@pytest.mark.parametrize(
    ("check", "table", "column", "value"),
    [
        (document_features_are_in_range, DOCUMENT_TEXT.table, "digit_share", "1.5"),
        (document_features_are_in_range, DOCUMENT_TEXT.table, "reading_ease", "'nan'"),
        (document_features_are_in_range, DOCUMENT_TEXT.table, "reading_ease", "'-infinity'"),
        (document_features_are_in_range, DOCUMENT_TEXT.table, "nearest_distance", "-0.1"),
        (collection_features_are_in_range, COLLECTION_ACTIVITY.table, "document_count", "-1"),
    ],
)
def test_ranges_pass_and_fail(
    duckdb: OfflineStoreResource,
    check: dg.AssetChecksDefinition,
    table: str,
    column: str,
    value: str,
) -> None:
    assert check(duckdb=duckdb).passed
    damage(duckdb, f"update {table} set {column} = {value}")
    result = check(duckdb=duckdb)
    assert not result.passed
    assert column in shown(result.metadata["ranges"])


@pytest.mark.parametrize(
    "statement",
    [
        f"delete from {DOCUMENT_TEXT.table} where entity_id = 'd0'",
        f"insert into {DOCUMENT_TEXT.table} from {DOCUMENT_TEXT.table} where entity_id = 'd0'",
        f"update {DOCUMENT_TEXT.table} set entity_id = 'gone' where entity_id = 'd0'",
        f"update {DOCUMENT_TEXT.table} set removed = true where entity_id = 'd0'",
    ],
)
def test_coverage_passes_and_fails(
    postgres: PostgresResource, duckdb: OfflineStoreResource, statement: str
) -> None:
    assert every_document_has_one_row(postgres=postgres, duckdb=duckdb).passed
    damage(duckdb, statement)
    assert not every_document_has_one_row(postgres=postgres, duckdb=duckdb).passed


def test_leakage_passes_and_fails(
    settings: Settings, postgres: PostgresResource, duckdb: OfflineStoreResource
) -> None:
    result = no_feature_gives_the_label_away(settings=settings, postgres=postgres, duckdb=duckdb)
    assert result.passed
    damage(duckdb, f"update {DOCUMENT_TEXT.table} set code_share = substr(entity_id, 2)::int % 2")
    result = no_feature_gives_the_label_away(settings=settings, postgres=postgres, duckdb=duckdb)
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN, "the label may be what it measures"
    assert result.metadata["feature"].value == "document_text__code_share"
    assert "the model may rest on it alone" in str(result.metadata["do"].value)
    assert result.description is not None
    assert "document_text__code_share" in result.description


def test_without_labels_there_is_nothing_to_leak(
    settings: Settings, postgres: PostgresResource, duckdb: OfflineStoreResource
) -> None:
    with postgres.connect() as connection:
        connection.execute("update documents set label = null")
    result = no_feature_gives_the_label_away(settings=settings, postgres=postgres, duckdb=duckdb)
    assert result.passed
    assert result.description == "fewer than two labels: there is nothing to predict"


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("change", ["missing", "extra", "different"])
def test_the_online_copy_passes_and_fails(
    duckdb: OfflineStoreResource, online_store: OnlineStoreResource, change: str, thorough: bool
) -> None:
    assert online_equals_offline(duckdb=duckdb, online_store=online_store, thorough=thorough).passed
    key = DOCUMENT_TEXT.key
    with online_store.connect() as online:
        row = online.get_rows(key, ["d0"])["d0"]
        if change == "missing":
            online.delete_many(key, ["d0"])
        elif change == "extra":
            online.put_many(key, {"gone": row})
        else:
            values = {**row.values, "words": float(row.values["words"] or 0)}  # equal, not the same
            online.put_many(key, {"d0": replace(row, values=values)})
    result = online_equals_offline(duckdb=duckdb, online_store=online_store, thorough=thorough)
    assert not result.passed
    assert result.metadata[f"{change}_in_{key}"].value == 1
    assert result.metadata["examples"].value == ("gone" if change == "extra" else "d0")


@pytest.mark.parametrize(
    ("check", "view", "column"),
    [
        (document_features_are_as_computed, DOCUMENT_TEXT, "words"),
        (collection_features_are_as_computed, COLLECTION_ACTIVITY, "chunk_count"),
    ],
)
def test_values_altered_in_their_range_are_told_and_computed_again(
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
    online_store: OnlineStoreResource,
    check: dg.AssetChecksDefinition,
    view: FeatureView,
    column: str,
) -> None:
    assert check(duckdb=duckdb).passed
    with duckdb.get_connection() as duck:
        before = values_version(duck, view)
        duck.execute(f"update {view.table} set {column} = {column} + 1")
    assert check(duckdb=duckdb).metadata["entities_with_altered_values"].value > 0
    with (
        postgres.connect() as connection,
        duckdb.get_connection() as duck,
        online_store.connect() as online,
    ):
        forget_altered(duck, online)
        refresh_document_features(connection, duck, SPACE.space_id)
        refresh_collection_features(connection, duck)
        assert values_version(duck, view) == before
    assert check(duckdb=duckdb).passed


@pytest.mark.parametrize(
    "statement",
    [
        f"delete from {DOCUMENT_TEXT.table} where entity_id = 'd0'",
        f"insert into {DOCUMENT_TEXT.table} from {DOCUMENT_TEXT.table} where entity_id = 'd0'",
    ],
)
def test_rows_that_were_lost_or_doubled_are_repaired(
    postgres: PostgresResource,
    duckdb: OfflineStoreResource,
    online_store: OnlineStoreResource,
    statement: str,
) -> None:
    damage(duckdb, statement)
    with (
        postgres.connect() as connection,
        duckdb.get_connection() as duck,
        online_store.connect() as online,
    ):
        forget_altered(duck, online)
        refresh_document_features(connection, duck, SPACE.space_id)
    assert every_document_has_one_row(postgres=postgres, duckdb=duckdb).passed


@pytest.mark.parametrize(
    "check",
    [
        document_features_are_in_range,
        collection_features_are_in_range,
        every_document_has_one_row,
        online_equals_offline,
    ],
)
def test_every_check_blocks(check: dg.AssetChecksDefinition) -> None:
    (spec,) = check.check_specs
    assert spec.blocking


@pytest.mark.parametrize("early", ["", " - interval 1 day"])
def test_a_view_whose_rows_are_earlier_than_their_documents_is_told(
    settings: Settings, postgres: PostgresResource, duckdb: OfflineStoreResource, early: str
) -> None:
    query = f"select collection, event_time{early} as at, count(*) over () as documents"
    view = FeatureView(
        "sizes",
        1,
        "collection",
        "How many documents there are",
        (Feature("documents", "bigint", ""),),
        frozenset({"training"}),
        source=Query(f"{query} from documents", event_time="at"),
    )
    made = {each.check_key.name: each for each in _checks(view)}
    check = made["no_row_of_sizes_follows_from_later_documents"]
    (spec,) = check.check_specs
    assert spec.blocking
    result = check(settings=settings, postgres=postgres, duckdb=duckdb)
    assert result.passed is not bool(early)
    if early:
        assert result.metadata["entities_with_rows_of_later_documents"].value == 1
        assert result.metadata["examples"].value == "a"
        assert "label_time" in str(result.metadata["do"].value)
        assert "repair" not in result.metadata
    served = replace(view, uses=frozenset({"serving"}))
    assert check.check_key.name not in {each.check_key.name for each in _checks(served)}


def test_the_online_copy_is_made_anew_where_that_is_asked_for(
    duckdb: OfflineStoreResource, online_store: OnlineStoreResource
) -> None:
    tags = []
    for anew in (False, True):
        config = OnlineConfig(anew=anew)
        result = online_features(config=config, duckdb=duckdb, online_store=online_store)
        outcome = "41 rows written anew" if anew else "nothing changed, nothing written"
        assert result.metadata["outcome"] == outcome
        with online_store.connect() as online:
            tags.append(online.get_many(DOCUMENT_TEXT.key, ["d0"]).tag)
    assert tags[0] != tags[1]
