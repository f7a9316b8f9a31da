from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_assets.delta import Delta
from ml_assets.documents.model import Document
from ml_assets.features.collections import refresh_collection_features
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.online import online_differences, refresh_online
from ml_assets.features.views import views_for
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores import duckdb, online, postgres
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.features.corpus import Load

ONE = Document("x", "a", "One small text.")
TWO = Document("y", "a", "Two is longer. It has two sentences.")
THREE = Document("z", "b", "Three comes from another collection.")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[online.OnlineStore]:
    with online.connect(None, tmp_path) as opened:
        yield opened


def copy(
    connection: postgres.Connection, duck: duckdb.Connection, store: online.OnlineStore
) -> Delta:
    refresh_document_features(connection, duck, SPACE.space_id)
    refresh_collection_features(connection, duck)
    return sum((refresh_online(duck, store, view) for view in views_for("serving")), Delta())


def test_the_copy_follows_the_latest_values(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    store: online.OnlineStore,
    load: Load,
) -> None:
    load(ONE, TWO, THREE)
    assert copy(connection, duck, store) == Delta(added=5)
    assert copy(connection, duck, store) == Delta(unchanged=5)
    assert store.get_many(DOCUMENT_TEXT.key, ["x"])["x"]["words"] == 3
    load(Document("x", "a", "One larger small text."), TWO)
    delta = copy(connection, duck, store)
    assert delta.removed == 2
    assert store.get_many(DOCUMENT_TEXT.key, ["x", "z"]).keys() == {"x"}
    assert store.get_many(DOCUMENT_TEXT.key, ["x"])["x"]["words"] == 4
    for view in views_for("serving"):
        assert not any(online_differences(duck, store, view).values())


def test_differences_are_named(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    store: online.OnlineStore,
    load: Load,
) -> None:
    load(ONE, TWO, THREE)
    copy(connection, duck, store)
    key = DOCUMENT_TEXT.key
    values = store.get_many(key, ["y"])["y"]
    store.put_many(key, {"w": {}, "y": {**values, "words": 9}}, {"w": "", "y": "other"})
    store.delete_many(key, ["x"])
    assert online_differences(duck, store, DOCUMENT_TEXT) == {
        "missing": ["x"],
        "extra": ["w"],
        "different": ["y"],
    }
    assert copy(connection, duck, store) == Delta(added=1, changed=1, removed=1, unchanged=3)
    assert not any(online_differences(duck, store, DOCUMENT_TEXT).values())
