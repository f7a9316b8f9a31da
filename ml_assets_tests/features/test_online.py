from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from ml_assets.delta import Delta
from ml_assets.documents.model import Document
from ml_assets.features.collections import refresh_collection_features
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.join import point_in_time_join
from ml_assets.features.online import count_behind, online_differences, refresh_online
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
    assert store.get_many(DOCUMENT_TEXT.key, ["x"]).values["x"]["words"] == 3
    load(Document("x", "a", "One larger small text."), TWO)
    delta = copy(connection, duck, store)
    assert delta.removed == 2
    reading = store.get_many(DOCUMENT_TEXT.key, ["x", "z"])
    assert reading.missing == ["z"]
    assert reading.values["x"]["words"] == 4
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
    row = store.get_rows(key, ["y"])["y"]
    other = online.Row({**row.values, "words": 9}, "other")
    store.put_many(key, {"w": online.Row({}, ""), "y": other})
    store.delete_many(key, ["x"])
    assert online_differences(duck, store, DOCUMENT_TEXT) == {
        "missing": ["x"],
        "extra": ["w"],
        "different": ["y"],
    }
    assert count_behind(duck, store, DOCUMENT_TEXT) == 2, "what is missing, and what differs"
    assert copy(connection, duck, store) == Delta(added=1, changed=1, removed=1, unchanged=3)
    assert count_behind(duck, store, DOCUMENT_TEXT) == 0
    assert not any(online_differences(duck, store, DOCUMENT_TEXT).values())


def test_values_end_online_when_they_end_in_a_join(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    store: online.OnlineStore,
    load: Load,
) -> None:
    """At the last instant of the ttl they hold, in both; an instant later in neither."""
    load(ONE, TWO)
    copy(connection, duck, store)
    view = replace(DOCUMENT_TEXT, ttl=timedelta(hours=1))
    assert refresh_online(duck, store, view) == Delta(changed=2), "now they have an end"
    assert refresh_online(duck, store, view) == Delta(unchanged=2)
    assert not any(online_differences(duck, store, view).values())
    rows = store.get_rows(view.key, ["x", "y"])
    ends = min(row.expires_at for row in rows.values() if row.expires_at)
    for now in (ends, ends + timedelta(microseconds=1)):
        spine = pd.DataFrame({"document_id": ["x", "y"], "event_time": now})
        joined = point_in_time_join(duck, spine, [view])
        known = joined.dropna(subset="document_text__words")["document_id"]
        assert list(store.get_many(view.key, ["x", "y"], now).values) == list(known)
    for_ever = replace(view, ttl=timedelta.max)
    assert refresh_online(duck, store, for_ever, anew=True) == Delta(unchanged=2)
    assert [row.expires_at for row in store.get_rows(view.key, ["x", "y"]).values()] == [None] * 2
    joined = point_in_time_join(duck, spine, [for_ever])
    assert joined["document_text__words"].notna().all()
    refresh_online(duck, store, view, anew=True)
    text = f"update {view.table} set event_time = event_time + interval 1 second"
    duck.execute(f"{text} where entity_id = 'x'")
    assert refresh_online(duck, store, view) == Delta(changed=1, unchanged=1), "it holds longer"


def test_a_copy_made_anew_takes_the_place_of_the_one_before(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    store: online.OnlineStore,
    load: Load,
) -> None:
    load(ONE, TWO)
    copy(connection, duck, store)
    key = DOCUMENT_TEXT.key
    before, rows = store.get_many(key, ["x"]).tag, store.get_rows(key, ["x", "y"])
    store.put_many(key, {"x": replace(rows["x"], values={}), "w": rows["y"]})
    delta = refresh_online(duck, store, DOCUMENT_TEXT, anew=True)
    assert delta == Delta(removed=1, unchanged=2)
    assert store.get_rows(key, ["x", "y", "w"]) == rows
    assert store.get_many(key, ["x"]).tag != before
    duck.execute(f"delete from {DOCUMENT_TEXT.table}")
    assert refresh_online(duck, store, DOCUMENT_TEXT, anew=True) == Delta(removed=2)
    assert store.revisions(key) == {}


def test_of_many_entities_a_sample_is_compared(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    store: online.OnlineStore,
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit: 3.0 is not 3. Every id and revision is compared in any case."""
    documents = [Document(f"d{n}", "a", f"Text number {n} of all.") for n in range(30)]
    load(*documents)
    copy(connection, duck, store)
    key = DOCUMENT_TEXT.key
    rows = store.get_rows(key, [document.document_id for document in documents])
    words = {id_: float(str(row.values["words"])) for id_, row in rows.items()}
    store.put_many(
        key, {i: replace(row, values={**row.values, "words": words[i]}) for i, row in rows.items()}
    )
    monkeypatch.setattr("ml_assets.features.online.SAMPLE", 10)
    samples = [online_differences(duck, store, DOCUMENT_TEXT)["different"] for _ in range(3)]
    assert [len(sample) for sample in samples] == [10, 10, 10]
    assert len(set().union(*samples)) > 10, "another sample each time"
    assert len(online_differences(duck, store, DOCUMENT_TEXT, whole=True)["different"]) == 30
    store.put_many(key, {"d7": replace(rows["d7"], revision="other")})
    assert "d7" in online_differences(duck, store, DOCUMENT_TEXT)["different"]
