from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ml_assets.delta import Delta
from ml_assets.documents.model import Document
from ml_assets.features import documents as document_features
from ml_assets.features.documents import read_vectors, refresh_document_features
from ml_assets.features.neighbours import UNKNOWN, nearest_others
from ml_assets.features.offline import current_rows, statistics, values_version
from ml_assets.features.text import text_features
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores import duckdb, postgres
from ml_assets_tests.fakes import SPACE, other_space
from ml_assets_tests.features.corpus import Load, load_into

ONE = Document("x", "a", "One small text.")
TWO = Document("y", "a", "Two is longer. It has two sentences.")
THREE = Document("z", "b", "Three comes from another collection.")


def refresh(
    connection: postgres.Connection, duck: duckdb.Connection, space_id: str = SPACE.space_id
) -> Delta:
    return refresh_document_features(connection, duck, space_id)


def current(duck: duckdb.Connection) -> dict[str, dict[str, Any]]:
    columns = ", ".join(DOCUMENT_TEXT.columns)
    rows = duck.execute(f"select entity_id, {columns} from ({current_rows(DOCUMENT_TEXT)})")
    return {
        row[0]: dict(zip(DOCUMENT_TEXT.columns, row[1:], strict=True)) for row in rows.fetchall()
    }


def history(duck: duckdb.Connection, entity_id: str) -> list[tuple[Any, ...]]:
    """(event time, known time, removed, words) in the order of writing."""
    return duck.execute(
        f"select event_time, known_time, removed, words from {DOCUMENT_TEXT.table}"
        " where entity_id = ? order by known_time",
        [entity_id],
    ).fetchall()


def changed_at(connection: postgres.Connection, document_id: str) -> datetime:
    (row,) = connection.execute(
        "select changed_at from documents where document_id = %s", [document_id]
    ).fetchall()
    found = row[0]
    assert isinstance(found, datetime)
    return found


def expected(connection: postgres.Connection) -> dict[str, dict[str, Any]]:
    """The features of the live documents, computed one by one from the tables."""
    texts: dict[str, str] = dict(
        connection.execute("select document_id, text from documents where deleted_at is null")
    )
    vectors: dict[str, list[Any]] = {document_id: [] for document_id in texts}
    for document_id, vector in connection.execute(
        "select document_id, embedding from chunks join document_embeddings using (chunk_id)"
        " where space_id = %s",
        [SPACE.space_id],
    ):
        vectors[document_id].append(vector.to_numpy().astype(np.float64))
    means = {key: np.mean(parts, axis=0) for key, parts in vectors.items()}
    units = {key: mean / np.linalg.norm(mean) for key, mean in means.items()}
    return {
        key: {**text_features(text), "nearest_distance": nearest(key, texts, units)}
        for key, text in texts.items()
    }


def nearest(key: str, texts: dict[str, str], units: dict[str, Any]) -> float | None:
    others = [other for other in texts if other != key]
    if any(texts[other] == texts[key] for other in others):
        return 0.0
    return min((1 - float(units[key] @ units[other]) for other in others), default=None)


def assert_current(connection: postgres.Connection, duck: duckdb.Connection) -> None:
    found, wanted = current(duck), expected(connection)
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        distance, near = found[key].pop("nearest_distance"), values.pop("nearest_distance")
        assert found[key] == values
        assert distance == (near if near is None else pytest.approx(near, abs=2e-6))


def test_every_document_gets_its_values(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO, THREE)
    assert refresh(connection, duck) == Delta(added=3)
    assert_current(connection, duck)


def test_nothing_changed_reads_a_hash_and_no_more(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(ONE, TWO)
    refresh(connection, duck)
    before = duck.execute(f"from {DOCUMENT_TEXT.table}").fetchall()
    monkeypatch.setattr(document_features, "_compute", None)
    assert refresh(connection, duck) == Delta(unchanged=2)
    load(ONE, TWO)
    assert refresh(connection, duck) == Delta(unchanged=2)
    assert duck.execute(f"from {DOCUMENT_TEXT.table}").fetchall() == before


def test_only_changed_texts_are_described_again(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(ONE, TWO, THREE)
    refresh(connection, duck)
    described: list[str] = []

    def watched(text: str) -> dict[str, float | int | None]:
        described.append(text)
        return text_features(text)

    monkeypatch.setattr(document_features, "text_features", watched)
    load(ONE, Document("y", "a", "Two, edited."), THREE)
    refresh(connection, duck)
    assert described == ["Two, edited."]
    assert_current(connection, duck)


def test_only_what_changed_is_compared_with_all(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The document that changed, and those whose nearest it was."""
    documents = {f"d{n:02}": Document(f"d{n:02}", "a", f"Text {n}.") for n in range(30)}
    load(*documents.values())
    refresh(connection, duck)
    pairs = "select entity_id, neighbour_id from document_neighbours order by 1"
    near = {name for name, other in duck.execute(pairs).fetchall() if other == "d07"}
    compared: list[int] = []

    def watched(vectors: Any, nearest: Any, distances: Any) -> None:
        compared.extend(np.flatnonzero(nearest == UNKNOWN).tolist())
        nearest_others(vectors, nearest, distances)

    monkeypatch.setattr(document_features, "nearest_others", watched)
    documents["d07"] = Document("d07", "a", "Another text.")
    load(*documents.values())
    refresh(connection, duck)
    assert compared == sorted(int(name[1:]) for name in {"d07", *near})
    assert_current(connection, duck)
    compared.clear()
    load(*(document for name, document in documents.items() if name != "d20"))
    refresh(connection, duck)
    assert len(compared) < 15
    assert_current(connection, duck)


def test_only_vectors_that_changed_are_read_again(
    connection: postgres.Connection,
    duck: duckdb.Connection,
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def watched(*given: Any) -> Any:
        asked.append(given[2])
        return read_vectors(*given)

    monkeypatch.setattr(document_features, "read_vectors", watched)
    kept = "select entity_id, vector from document_vectors order by 1"
    load(ONE, TWO, THREE)
    refresh(connection, duck)
    load(ONE, Document("y", "a", "Two, edited."), Document("w", "b", "Four."))
    refresh(connection, duck)
    assert asked == [None, ["w", "y"]]
    names, vectors = read_vectors(connection, SPACE.space_id)
    assert duck.execute(kept).fetchall() == list(zip(names, vectors.tolist(), strict=True))
    # The same texts in another space.
    other = other_space()
    load(ONE, Document("y", "a", "Two, edited."), Document("w", "b", "Four."), space=other)
    refresh(connection, duck, other.space_id)
    assert asked[2:] == [None]
    names, vectors = read_vectors(connection, other.space_id)
    assert duck.execute(kept).fetchall() == list(zip(names, vectors.tolist(), strict=True))


def test_a_change_is_dated_when_it_was_true(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    created = datetime(2020, 5, 1, tzinfo=UTC)
    load(Document("x", "a", ONE.text, created_at=created), TWO)
    refresh(connection, duck)
    first = history(duck, "x")
    assert [row[0] for row in first] == [created]
    assert history(duck, "y")[0][0] == changed_at(connection, "y")
    assert first[0][1] > changed_at(connection, "x")
    load(Document("x", "a", "One larger small text.", created_at=created), TWO)
    refresh(connection, duck)
    rows = history(duck, "x")
    assert [(row[0], row[3]) for row in rows] == [(created, 3), (changed_at(connection, "x"), 4)]
    assert rows[1][1] > rows[0][1]


def test_a_neighbour_that_changed_dates_the_distance(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO)
    refresh(connection, duck)
    load(ONE, Document("y", "a", "One small text."))
    assert refresh(connection, duck).changed == 2
    assert [row[0] for row in history(duck, "x")] == [
        changed_at(connection, "x"),
        changed_at(connection, "y"),
    ]


def test_another_space_corrects_without_moving_the_event(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    created = datetime(2020, 5, 1, tzinfo=UTC)
    documents = [Document("x", "a", ONE.text, created_at=created), TWO]
    load(*documents)
    refresh(connection, duck)
    load(*documents, space=other_space())
    assert refresh(connection, duck, other_space().space_id) == Delta(changed=2)
    (first, second) = history(duck, "x")
    assert first[0] == second[0] == created
    assert first[1] < second[1]


def test_a_removed_document_gets_a_tombstone_and_can_return(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO, THREE)
    refresh(connection, duck)
    load(ONE, THREE)
    assert refresh(connection, duck).removed == 1
    assert "y" not in current(duck)
    event, _, removed, words = history(duck, "y")[-1]
    assert (event, removed, words) == (changed_at(connection, "y"), True, None)
    assert refresh(connection, duck) == Delta(unchanged=2)
    load(ONE, TWO, THREE)
    assert refresh(connection, duck).added == 1
    assert [row[2] for row in history(duck, "y")] == [False, True, False]
    assert_current(connection, duck)


def test_a_document_that_was_erased_is_removed_too(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO)
    refresh(connection, duck)
    connection.execute("delete from documents where document_id = 'y'")
    assert refresh(connection, duck).removed == 1
    assert current(duck).keys() == {"x"}
    assert refresh(connection, duck) == Delta(unchanged=1)


def test_a_new_label_is_no_new_value(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO)
    refresh(connection, duck)
    load(Document("x", "a", ONE.text, label="l"), TWO)
    assert refresh(connection, duck) == Delta(unchanged=2)
    assert len(history(duck, "x")) == 1


def test_what_a_model_sees_twice_has_distance_zero(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    """The title is part of it, as the first line of a text that `predict` is given."""
    same = [Document(name, "a", "Same.", title="Title") for name in "xy"]
    load(*same, replace(same[0], document_id="w", title="Another"), THREE)
    refresh(connection, duck)
    values = current(duck)
    distances = {key: row["nearest_distance"] for key, row in values.items()}
    assert distances["x"] == distances["y"] == 0
    assert distances["w"] > 0
    assert distances["z"] > 0
    assert values["x"]["characters"] == len("Title\nSame.")


def test_a_single_document_has_no_distance(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE)
    refresh(connection, duck)
    assert current(duck)["x"]["nearest_distance"] is None


def test_no_documents_are_no_rows(connection: postgres.Connection, duck: duckdb.Connection) -> None:
    assert refresh(connection, duck) == Delta()
    assert refresh(connection, duck) == Delta()
    assert statistics(duck, DOCUMENT_TEXT) == []


def test_a_clock_that_goes_back_does_not_reorder_what_was_known(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO)
    late = datetime.now(UTC) + timedelta(days=1)
    refresh_document_features(connection, duck, SPACE.space_id, known_time=late)
    load(Document("x", "a", "One is longer now."), TWO)
    refresh(connection, duck)
    assert [row[1] > late for row in history(duck, "x")] == [False, True]
    assert_current(connection, duck)


def test_a_failure_while_writing_leaves_nothing(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO)
    duck.execute("alter table feature_states rename to elsewhere")
    duck.execute("create view feature_states as from elsewhere")
    with pytest.raises(Exception, match="feature_states"):
        refresh(connection, duck)
    assert duck.execute(f"from {DOCUMENT_TEXT.table}").fetchall() == []
    assert duck.execute("from feature_inputs").fetchall() == []
    duck.execute("drop view feature_states")
    duck.execute("alter table elsewhere rename to feature_states")
    assert refresh(connection, duck) == Delta(added=2)


def test_the_version_follows_the_values(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO)
    refresh(connection, duck)
    first = values_version(duck, DOCUMENT_TEXT)
    load(ONE)
    refresh(connection, duck)
    assert values_version(duck, DOCUMENT_TEXT) != first
    load(ONE, TWO)
    refresh(connection, duck)
    assert values_version(duck, DOCUMENT_TEXT) == first


def test_statistics_are_those_of_current_values(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO)
    refresh(connection, duck)
    load(ONE)
    refresh(connection, duck)
    rows = {row["feature"]: row for row in statistics(duck, DOCUMENT_TEXT)}
    assert list(rows) == list(DOCUMENT_TEXT.columns)
    assert rows["words"] == {
        "feature": "words",
        "known": 1,
        "unknown": 0,
        "minimum": 3,
        "mean": 3,
        "median": 3,
        "maximum": 3,
    }
    assert (rows["nearest_distance"]["known"], rows["nearest_distance"]["unknown"]) == (0, 1)


collections_of_documents = st.lists(
    st.builds(
        Document,
        st.sampled_from("wxyz"),
        st.sampled_from("ab"),
        st.sampled_from(["One.", "Two words.", "Three more words. And a sentence.", "x = 1\n1 2"]),
    ),
    max_size=4,
    unique_by=lambda document: document.document_id,
)


def test_any_sequence_ends_as_a_build_from_scratch(
    connection: postgres.Connection, tmp_path: Path
) -> None:
    inputs = "select entity_id, input_hash from feature_inputs order by all"
    # Of two that are as near, one that was the nearest stays it.
    neighbours = (
        "select entity_id, vector_hash, nearest_distance from document_neighbours order by all"
    )

    @hypothesis_settings(max_examples=12, deadline=None)
    @given(states=st.lists(collections_of_documents, min_size=1, max_size=3))
    def check(states: list[list[Document]]) -> None:
        with duckdb.connect(tmp_path / "a.duckdb") as duck:
            for documents in states:
                load_into(connection, *documents)
                refresh(connection, duck)
            assert_current(connection, duck)
            found, seen = current(duck), duck.execute(inputs).fetchall()
            nearest = duck.execute(neighbours).fetchall()
            assert refresh(connection, duck).touched == 0
        (tmp_path / "scratch.duckdb").unlink(missing_ok=True)
        with duckdb.connect(tmp_path / "scratch.duckdb") as scratch:
            refresh(connection, scratch)
            assert (current(scratch), scratch.execute(inputs).fetchall()) == (found, seen)
            assert scratch.execute(neighbours).fetchall() == nearest

    check()
