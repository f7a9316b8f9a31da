"""DuckDB after a document was forgotten: no row, no label and no byte of it, and all else."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from ml_assets.features.drift.statistics import Window, refresh_statistics
from ml_assets.operations.erasure.stores import offline
from ml_assets.operations.erasure.stores.offline import erase
from ml_assets.operations.erasure.subject import Marks, Place, Subject
from ml_assets.operations.erasure.traces import find_traces
from ml_assets.settings import Settings
from ml_assets.stores import duckdb, postgres

DOCUMENT, LABEL = "qzdocument-of-77", "qzlabel-of-77"
VECTOR = np.random.default_rng(5).standard_normal(384).astype(np.float16).astype(np.float32)
SUBJECT = Subject("r", (DOCUMENT,), labels=(LABEL,), marks=Marks((DOCUMENT, LABEL), (VECTOR,)))
DAY = date(2026, 3, 4)

TABLES = (
    *("features_document_text_v1", "features_document_text_v2", "feature_inputs"),
    *("document_neighbours", "document_vectors", "training_sets", "split_history"),
    *("model_predictions", "label_issues", "experiment_performance", "training_set_builds"),
    *("ambiguous_labels", "feature_drift", "features_collection_activity_v1"),
)


def fill(duck: duckdb.Connection, names: tuple[str, ...]) -> None:
    """Rows of these documents, each with a label of its own, wherever there can be some."""
    for number, name in enumerate(names):
        label = LABEL if name == DOCUMENT else f"label {number}"
        vector = VECTOR if name == DOCUMENT else np.full(384, number, np.float32)
        bound: dict[str, Any] = {"name": name, "label": label, "at": DAY, "vector": vector.tolist()}
        for text in (
            (
                "insert into features_document_text_v1 (entity_id, event_time, known_time, removed,"
                " value_hash) values ($name, $at, $at, false, 'v')"
            ),
            (
                "insert into features_document_text_v2 (entity_id, event_time, known_time, removed,"
                " value_hash, words) values ($name, $at, $at, false, 'v', 7)"
            ),
            "insert into feature_inputs values ('document_text_v2', $name, 'h')",
            "insert into document_neighbours values ($name, 'h', 'd0', 0.5)",
            "insert into document_vectors values ($name, 'h', $vector)",
            "insert into training_sets values ('s', $name, $label, 'g', 'train', $at, 't', map())",
            "insert into split_history values (0, $name, 't', [1], 'train')",
            "insert into model_predictions values ('r', 's', 'f', 'p', $name, $label, 'label', 1)",
            "insert into label_issues values (1, $name, $label, 'label', 0.5, 'k', 'w')",
            (
                "insert into experiment_performance values"
                " ('r', 's', 'f', 'p', 'test', $label, 'f1', 0.5, $at)"
            ),
            "insert into ambiguous_labels values (1, 'label', $label, 3, 0.5)",
            (
                "insert into feature_drift values ($at, $name, 'label', 'a', 't', 0, 0, 0, 0, 0, 0,"
                " true, 'none', $label || ': 1 of 7')"
            ),
        ):
            used = {key: value for key, value in bound.items() if f"${key}" in text}
            duck.execute(text, used)


def contents(duck: duckdb.Connection, without: str = "") -> dict[str, list[str]]:
    return {
        table: sorted(
            str(row)
            for row in duck.execute(f"from {table}").fetchall()
            if not without or without not in str(row)
        )
        for table in TABLES
    }


def place(settings: Settings) -> Place:
    return Place(settings, cast("postgres.Connection", None))


@pytest.fixture
def filled(settings: Settings) -> Settings:
    with duckdb.connect(settings.duckdb_file) as duck:
        fill(duck, ("d0", DOCUMENT, *(f"d{number}" for number in range(1, 200))))
        duck.execute(
            "insert into document_neighbours values ('d900', 'h', $name, 0.1)", {"name": DOCUMENT}
        )
        duck.execute(
            "insert into model_predictions values ('r', 's', 'f', 'p', 'd901', 'label', $l, 1)",
            {"l": LABEL},
        )
        duck.execute(
            "insert into training_set_builds (hash, space_id, seed, feature_views, features,"
            " left_out, unembedded, reason) values ('s', 's', 0, map(), [], $out, 0, '')",
            {"out": {LABEL: 1, "label 3": 2}},
        )
    return settings


def test_no_byte_is_left_and_all_else_is_as_it_was(filled: Settings) -> None:
    marks = {trace.mark for trace in find_traces(filled.home, SUBJECT.marks)}
    assert marks == {"words[0]", "words[1]", "vectors[0]"}
    with duckdb.connect(filled.duckdb_file) as duck:
        before = contents(duck)
        expected = {
            table: [row for row in rows if DOCUMENT not in row and LABEL not in row]
            for table, rows in before.items()
        }
        assert all(len(expected[table]) < len(before[table]) for table in TABLES[:-1])
    removed = {each.what: each.count for each in erase(place(filled), SUBJECT)}
    assert removed == {"rows": 10, "values of a label": 5, "statistics of days": 0}
    assert find_traces(filled.home, SUBJECT.marks) == []
    with duckdb.connect(filled.duckdb_file) as duck:
        after = contents(duck)
        (build,) = after.pop("training_set_builds")
        assert "{'label 3': 2}" in build
        del expected["training_set_builds"]
        assert after == expected
        # The number after the last one goes on.
        duck.execute(
            "insert into training_set_builds (hash, space_id, seed, feature_views, features,"
            " left_out, unembedded, reason) values ('s', 's', 0, map(), [], map(), 0, '')"
        )
        assert duck.execute("select max(build_id) from training_set_builds").fetchall() == [(2,)]


def test_to_erase_it_again_changes_nothing(filled: Settings) -> None:
    erase(place(filled), SUBJECT)
    with duckdb.connect(filled.duckdb_file) as duck:
        once = contents(duck)
    assert {each.count for each in erase(place(filled), SUBJECT)} == {0}
    with duckdb.connect(filled.duckdb_file) as duck:
        assert contents(duck) == once


def test_the_id_of_another_entity_is_not_that_of_a_document(settings: Settings) -> None:
    with duckdb.connect(settings.duckdb_file) as duck:
        duck.execute(
            "insert into features_collection_activity_v1 (entity_id, event_time, known_time,"
            " removed, value_hash) values ('7', now(), now(), false, 'v')"
        )
        duck.execute("insert into feature_inputs values ('collection_activity_v1', '7', 'h')")
        duck.execute("insert into feature_inputs values ('gone_v1', '7', 'h')")
    erase(place(settings), Subject("r", ("7",)))
    with duckdb.connect(settings.duckdb_file) as duck:
        assert len(duck.execute("from features_collection_activity_v1").fetchall()) == 1
        assert duck.execute("select view from feature_inputs").fetchall() == [
            ("collection_activity_v1",)
        ]


def test_a_kill_before_the_new_file_is_there_leaves_the_old_one(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            erase(place(filled), SUBJECT)
    assert find_traces(filled.duckdb_file.parent, SUBJECT.marks)  # in what was written before
    erase(place(filled), SUBJECT)
    assert find_traces(filled.home, SUBJECT.marks) == []
    assert [file.name for file in filled.home.glob("*duckdb*")] == [filled.duckdb_file.name]


def test_days_that_follow_one_another_are_computed_together() -> None:
    days = [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1), date(2026, 3, 3)]
    windows = offline._windows(days)
    assert [(each.first, each.last) for each in windows] == [
        (days[0], days[2]),
        (days[3], days[3]),
    ]


def test_without_a_file_there_is_nothing_to_erase(settings: Settings) -> None:
    assert erase(place(settings), SUBJECT) == []
    assert not settings.duckdb_file.exists()


def test_statistics_of_its_day_are_computed_without_it(
    connection: postgres.Connection, settings: Settings, tmp_path: Path
) -> None:
    """As if it had never come, on its day alone."""
    other = settings.model_copy(update={"duckdb_path": tmp_path / "other.duckdb"})
    filled_with = ((settings, ("d0", DOCUMENT, "d1")), (other, ("d0", "d1")))
    insert = (
        "insert into features_document_text_v2 (entity_id, event_time, known_time, removed,"
        " value_hash, words) values ($name, $at, $at, false, 'v', $words)"
    )
    for each, some in filled_with:
        with duckdb.connect(each.duckdb_file) as duck:
            for name in some:
                at = DAY if name != "d1" else DAY + timedelta(days=2)
                words = 77_777 if name == DOCUMENT else 5
                duck.execute(insert, {"name": name, "at": at, "words": words})
            refresh_statistics(connection, duck, Window(DAY, DAY + timedelta(days=2)))
    removed = {each.what: each.count for each in erase(Place(settings, connection), SUBJECT)}
    assert removed["statistics of days"] == 1
    with duckdb.connect(settings.duckdb_file) as duck, duckdb.connect(other.duckdb_file) as without:
        query = "from feature_statistics order by day, view, feature"
        assert duck.execute(query).fetchall() == without.execute(query).fetchall()
        assert duck.execute("select count(*) from feature_statistics").fetchall() != [(0,)]


def test_rows_are_not_gone_before_the_statistics_are_without_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with duckdb.connect(settings.duckdb_file) as duck:
        duck.execute(
            "insert into features_document_text_v2 (entity_id, event_time, known_time, removed,"
            " value_hash) values ($name, $at, $at, false, 'v')",
            {"name": DOCUMENT, "at": DAY},
        )
        duck.execute(
            "insert into feature_statistics (day, view, version, feature, rows, missing)"
            " values ($at, 'document_text', 2, 'words', 1, 0)",
            {"at": DAY},
        )
    monkeypatch.setattr(offline, "write_statistics", killed)
    with pytest.raises(KeyboardInterrupt):
        erase(place(settings), SUBJECT)
    with duckdb.connect(settings.duckdb_file) as duck:
        assert offline._days(duck, SUBJECT) == [DAY]


def test_a_group_of_near_duplicates_loses_the_name_of_one(filled: Settings) -> None:
    with duckdb.connect(filled.duckdb_file) as duck:
        duck.execute("update training_sets set group_id = ? where document_id = 'd7'", [DOCUMENT])
    erase(place(filled), SUBJECT)
    with duckdb.connect(filled.duckdb_file) as duck:
        query = "select distinct group_id from training_sets order by 1"
        assert duck.execute(query).fetchall() == [("[forgotten]",), ("g",)]
