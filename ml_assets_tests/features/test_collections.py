from typing import Any

from ml_assets.delta import Delta
from ml_assets.documents.model import Document
from ml_assets.features.collections import refresh_collection_features
from ml_assets.features.offline import current_rows
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.stores import duckdb, postgres
from ml_assets_tests.features.corpus import Load

ONE = Document("x", "a", "1234", label="l")
TWO = Document("y", "a", "12345678", label="m")
LONG = Document("w", "a", "123456789012345678", label="m")
OTHER = Document("z", "b", "12")


def current(duck: duckdb.Connection) -> dict[str, dict[str, Any]]:
    columns = ", ".join(COLLECTION_ACTIVITY.columns)
    rows = duck.execute(f"select entity_id, {columns} from ({current_rows(COLLECTION_ACTIVITY)})")
    names = COLLECTION_ACTIVITY.columns
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows.fetchall()}


def test_every_collection_gets_its_values(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO, LONG, OTHER)
    assert refresh_collection_features(connection, duck) == Delta(added=2)
    found = current(duck)
    chunks: dict[str, int] = dict(
        connection.execute("select collection, count(*) from chunks group by 1").fetchall()
    )
    assert found["a"] == {
        "document_count": 3,
        "chunk_count": chunks["a"],
        "mean_characters": 10,
        "median_characters": 8,
        "label_count": 2,
        "added": 3,
        "changed": 0,
        "removed_documents": 0,
    }
    assert found["b"]["label_count"] == 0
    assert refresh_collection_features(connection, duck) == Delta(unchanged=2)


def test_changes_are_counted_and_dated(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO, OTHER)
    refresh_collection_features(connection, duck)
    load(Document("x", "a", "123456", label="l"), OTHER)
    assert refresh_collection_features(connection, duck) == Delta(changed=1, unchanged=1)
    found = current(duck)["a"]
    assert (found["added"], found["changed"], found["removed_documents"]) == (2, 1, 1)
    (last,) = connection.execute("select max(changed_at) from change_log").fetchall()
    events = duck.execute(
        f"select event_time from {COLLECTION_ACTIVITY.table} where entity_id = 'a' order by 1"
    ).fetchall()
    assert len(events) == 2
    assert events[-1] == last


def test_a_change_that_commits_after_one_of_a_higher_number_is_seen(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE)
    connection.execute("alter sequence change_log_change_id_seq restart with 100")
    load(Document("x", "a", "123456", label="l"))
    refresh_collection_features(connection, duck)
    connection.execute(
        "insert into change_log (change_id, stage, collection, document_id, action, reason)"
        " overriding system value values (50, 'documents', 'a', 'x', 'changed', 'text')"
    )
    assert refresh_collection_features(connection, duck) == Delta(changed=1)
    assert current(duck)["a"]["changed"] == 2


def test_other_chunks_correct_the_row_of_their_documents(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    text = Document("x", "a", "One two three four five six seven eight. " * 4)
    load(text)
    refresh_collection_features(connection, duck)
    load(text, chunk_tokens=32)
    assert refresh_collection_features(connection, duck) == Delta(changed=1)
    rows = duck.execute(
        f"select count(*), count(distinct event_time), count(distinct known_time),"
        f" count(distinct chunk_count) from {COLLECTION_ACTIVITY.table}"
    ).fetchall()
    assert rows == [(2, 1, 2, 2)]


def test_an_emptied_collection_gets_a_tombstone(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, OTHER)
    refresh_collection_features(connection, duck)
    load(ONE)
    assert refresh_collection_features(connection, duck) == Delta(removed=1, unchanged=1)
    assert current(duck).keys() == {"a"}
    assert refresh_collection_features(connection, duck) == Delta(unchanged=1)
    load(ONE, OTHER)
    assert refresh_collection_features(connection, duck) == Delta(added=1, unchanged=1)


def test_a_document_that_moves_changes_both(
    connection: postgres.Connection, duck: duckdb.Connection, load: Load
) -> None:
    load(ONE, TWO, OTHER)
    refresh_collection_features(connection, duck)
    load(ONE, Document("y", "b", TWO.text, label="m"), OTHER)
    assert refresh_collection_features(connection, duck) == Delta(changed=2)
    found = current(duck)
    assert (found["a"]["document_count"], found["b"]["document_count"]) == (1, 2)
