from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ml_assets.delta import Delta
from ml_assets.errors import FeatureViewError, RoleError
from ml_assets.features.definition import Feature, FeatureView, fingerprint
from ml_assets.features.offline import create_table, stored_views
from ml_assets.features.registry import drop_version, listed, page, refresh_definitions
from ml_assets.features.views import VIEWS, views_for
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.releases import audit
from ml_assets.releases.roles import grant
from ml_assets.stores import duckdb, online, postgres

_SYSTEM_COLUMNS = [
    ("entity_id", "VARCHAR"),
    ("event_time", "TIMESTAMP WITH TIME ZONE"),
    ("known_time", "TIMESTAMP WITH TIME ZONE"),
    ("removed", "BOOLEAN"),
    ("value_hash", "VARCHAR"),
]


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_the_table_of_a_view_has_its_features(tmp_path: Path, view: FeatureView) -> None:
    with duckdb.connect(tmp_path / "a.duckdb") as duck:
        columns = duck.execute(
            "select column_name, data_type from duckdb_columns() where table_name = ?"
            " order by column_index",
            [view.table],
        ).fetchall()
    assert columns == [*_SYSTEM_COLUMNS, *((f.name, f.dtype.upper()) for f in view.features)]


def test_only_what_permits_training_is_for_training() -> None:
    assert views_for("training") == (DOCUMENT_TEXT,)
    assert views_for("serving") == (COLLECTION_ACTIVITY, DOCUMENT_TEXT)


@pytest.mark.parametrize(
    "change",
    [
        {"version": DOCUMENT_TEXT.version + 1},
        {"ttl": timedelta(days=1)},
        {"uses": frozenset({"monitoring"})},
        {"features": (*DOCUMENT_TEXT.features, Feature("more", "double", ""))},
        {"features": (replace(DOCUMENT_TEXT.features[0], maximum=5), *DOCUMENT_TEXT.features[1:])},
    ],
)
def test_the_fingerprint_is_of_the_meaning(change: dict[str, object]) -> None:
    assert fingerprint(replace(DOCUMENT_TEXT, **change)) != fingerprint(DOCUMENT_TEXT)  # type: ignore[arg-type]


def test_wording_is_not_meaning() -> None:
    features = tuple(replace(feature, description="?") for feature in DOCUMENT_TEXT.features)
    reworded = replace(DOCUMENT_TEXT, description="?", features=features)
    assert fingerprint(reworded) == fingerprint(DOCUMENT_TEXT)


def test_definitions_are_written_once(connection: postgres.Connection) -> None:
    assert refresh_definitions(connection) == Delta(added=2)
    assert refresh_definitions(connection) == Delta(unchanged=2)
    assert refresh_definitions(connection, [replace(DOCUMENT_TEXT, description="?")]) == Delta(
        changed=1
    )
    row = connection.execute(
        "select entity, fingerprint, definition->>'description' from feature_definitions"
        " where view = 'document_text'"
    ).fetchone()
    assert row == ("document", fingerprint(DOCUMENT_TEXT), "?")


@pytest.mark.parametrize("damage", ["fingerprint = 'x'", "definition = '{}'", "entity = 'x'"])
def test_a_definition_that_another_hand_changed_is_written_again(
    connection: postgres.Connection, damage: str
) -> None:
    query = "select * from feature_definitions order by view"
    refresh_definitions(connection)
    before = connection.execute(query).fetchall()
    connection.execute(f"update feature_definitions set {damage}")  # type: ignore[arg-type]
    assert refresh_definitions(connection) == Delta(changed=2)
    assert connection.execute(query).fetchall() == before


def test_a_change_asks_for_a_version(connection: postgres.Connection) -> None:
    refresh_definitions(connection)
    changed = replace(DOCUMENT_TEXT, ttl=timedelta(days=1))
    with pytest.raises(
        FeatureViewError, match=r"document_text.*still version 2.*Set its version to 3"
    ):
        refresh_definitions(connection, [replace(COLLECTION_ACTIVITY, version=2), changed])
    versions = connection.execute("select view, version from feature_definitions").fetchall()
    assert sorted(versions) == [("collection_activity", 1), ("document_text", 2)]
    assert refresh_definitions(connection, [replace(changed, version=3)]) == Delta(added=1)


def test_a_version_is_dropped_offline_and_online(
    connection: postgres.Connection, tmp_path: Path
) -> None:
    old = replace(DOCUMENT_TEXT, name="old", version=4)
    with duckdb.connect(tmp_path / "a.duckdb") as duck, online.connect(None, tmp_path) as store:
        create_table(duck, old)
        rows = {f"{row['view']}_v{row['version']}": row for row in listed(duck)}
        assert rows[DOCUMENT_TEXT.key]["standing"] == "current"
        known = {name: value for name, value in rows[old.key].items() if value is not None}
        assert known == {"view": "old", "version": 4, "rows": 0, "standing": "earlier"}
        for key in (old.key, DOCUMENT_TEXT.key):
            store.put_many(key, {"x": online.Row({"words": 1}, "r")})
        grant(connection, "root", "admin", "root", "the team")
        grant(connection, "ann", "viewer", "root", "the team")
        with pytest.raises(RoleError, match="ann' is a viewer, and may not drop by hand"):
            drop_version(connection, duck, store, "old", 4, "ann", "gone")
        assert old.key in stored_views(duck)
        grant(connection, "ann", "approver", "root", "the team")
        assert drop_version(connection, duck, store, "old", 4, "ann", "gone") == 0
        assert old.key not in stored_views(duck)
        assert store.views() == [DOCUMENT_TEXT.key]
        assert drop_version(connection, duck, store, "old", 4, "ann", "gone") is None
    (entry,) = (each for each in audit.read_entries(connection, 10) if each.action == "drop")
    assert (entry.actor, entry.subject, entry.reason) == ("ann", "feature view old_v4", "gone")


@pytest.mark.parametrize(
    ("bounds", "told"),
    [((None, None), "any"), ((1, None), "from 1"), ((None, 2.5), "to 2.5"), ((0, 5), "0 to 5")],
)
def test_a_page_tells_the_range(bounds: tuple[float | None, float | None], told: str) -> None:
    view = replace(DOCUMENT_TEXT, features=(Feature("a", "double", "words", *bounds),))
    assert f"| `a` | double | - | {told} | allowed | words |" in page(view)
