"""The commands of the feature views, at the prompt."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ml_assets import cli
from ml_assets.cli.app import out
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores import duckdb, online, postgres
from ml_assets.stores.online import Row


@pytest.fixture
def home(tmp_path: Path, connection: postgres.Connection, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the commands, on the database of the test."""
    info = connection.info
    url = f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}"
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("POSTGRES_URL", url)
    monkeypatch.setattr(out, "width", 200)
    return tmp_path


@pytest.fixture
def filled(home: Path) -> Path:
    """A home with a document as it was, and as it is, and an earlier version of the view."""
    with duckdb.connect(home / "offline.duckdb") as duck:
        for day, words in ((1, 10), (3, 30)):
            duck.execute(
                f"insert into {DOCUMENT_TEXT.table} by name select 'd' as entity_id,"
                f" timestamptz '2026-01-0{day}' as event_time, event_time as known_time,"
                f" false as removed, '' as value_hash, {words} as words"
            )
        duck.execute(
            f"create table features_old_v4 as from {DOCUMENT_TEXT.table} limit 1;"
            "create table features_of_mine as select 1 as one"
        )
        left_out = [DOCUMENT_TEXT.key, "it has no key", 3]
        duck.execute("insert into feature_rows_left_out values (?, ?, ?)", left_out)
    return home


def call(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["features", *words])


def answered(*words: str) -> Any:
    return json.loads(call(*words, "--json").stdout)


def test_views_are_listed_with_the_rows_that_are_kept(filled: Path) -> None:
    rows = {(row["view"], row["version"]): row for row in answered("list")}
    assert rows["document_text", 2]["rows"] == 2
    assert rows["old", 4] | {"rows": 1, "standing": "earlier"} == rows["old", 4]
    assert "collection_activity 1 " in call("list").stdout
    assert "of_mine" not in call("list").stdout


def test_without_a_home_the_code_is_listed(home: Path) -> None:
    assert [row["view"] for row in answered("list")] == ["collection_activity", "document_text"]
    assert not (home / "offline.duckdb").exists()
    assert "It has no values yet." in call("show", "document_text").stdout


def test_a_view_is_shown_with_statistics_and_lineage(filled: Path) -> None:
    found = answered("show", "document_text")
    (words,) = (row for row in found["statistics"] if row["feature"] == "words")
    assert (words["known"], words["mean"]) == (1, 30.0)
    assert found["left_out"] == {"it has no key": 3}
    assert found["lineage"]["feeds"] == ["feature_drift", "online_features", "training_set"]
    shown = call("show", "document_text").stdout
    assert "Lineage" in shown
    assert "nearest_distance" in shown
    assert "Rows of the source that were left out" in shown
    assert "left out" not in call("show", "collection_activity").stdout
    assert "| `words` | bigint |" in call("show", "document_text", "--markdown").stdout


def test_values_as_of_a_time(filled: Path) -> None:
    assert answered("get", "document_text", "d", "--as-of", "2026-01-02")["words"] == 10
    assert answered("get", "document_text", "d", "--as-of", "2026-01-03")["words"] == 30
    early = ["--as-of", "2026-01-09", "--known", "2026-01-02T12:00+01:00"]
    assert answered("get", "document_text", "d", *early)["words"] == 10
    assert "words" in call("get", "document_text", "d", "--as-of", "2026-01-02").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "document_text", "d", "--as-of", "2025-12-31"], "knew nothing of 'd' then"),
        (["get", "document_text", "d", "--as-of", "soon"], "--as-of: 'soon' is no time"),
        (["get", "document_text", "d", "--as-of", ""], "--as-of: '' is no time"),
        (["get", "document_text", "d", "--known", "none"], "--known: 'none' is no time"),
        (["get", "document_text", "e", "--as-of", "2026-01-02"], "has no values of 'e'. Run"),
        (["get", "texts", "d"], "there is no view 'texts'. Known: collection_activity"),
        (["show", "texts"], "there is no view 'texts'"),
        (["drop", "document_text", "2", "--reason", "r"], "version 2 is the current one"),
        (["drop", "old", "5", "--reason", "r"], "no values of version 5 are kept"),
    ],
)
def test_a_mistake_is_a_line(filled: Path, words: list[str], message: str) -> None:
    done = call(*words)
    assert done.exit_code == 1
    assert message in " ".join(done.output.split())


def test_an_earlier_version_is_dropped(filled: Path) -> None:
    with online.connect(None, filled) as store:
        store.put_many("old_v4", {"d": Row({"a": 1}, "r")})
    assert "Dropped old version 4: 1 rows" in call("drop", "old", "4", "--reason", "gone").output
    assert ("old", 4) not in {(row["view"], row["version"]) for row in answered("list")}
    with online.connect(None, filled) as store:
        assert store.revisions("old_v4") == {}
