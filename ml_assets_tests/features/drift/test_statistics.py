"""Statistics by day in DuckDB, and the windows that are compared."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from ml_assets.features import Feature, FeatureView, Query
from ml_assets.features.drift import statistics
from ml_assets.features.drift.comparison import MIN_ROWS, Comparison, Sample, compare
from ml_assets.features.drift.results import (
    DayComparison,
    how_it_came,
    read_comparisons,
    write_comparisons,
)
from ml_assets.features.drift.statistics import (
    documents_as_now,
    documents_that_came,
    group_sizes,
    read_statistics,
    refresh_statistics,
    with_features,
)
from ml_assets.features.drift.summary import QUANTILES, summarize_numbers
from ml_assets.features.drift.windows import (
    Window,
    compare_with_days_before,
    current_window,
    refresh_days,
    within,
)
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores import duckdb, postgres
from ml_assets_tests.fakes import SPACE
from ml_assets_tests.features.corpus import DOCUMENTS, Load

DAY = date(2026, 3, 20)
NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
SPACE_ID = SPACE.space_id
LENGTHS = "document_text__characters"
EASE = "document_text__reading_ease"


def write(
    duck: duckdb.Connection,
    name: str,
    event_time: datetime = NOON,
    known_time: datetime = NOON,
    removed: bool = False,
    value_hash: str = "",
    **values: float | None,
) -> None:
    """A row of the offline table of `document_text`."""
    row = {
        "entity_id": name,
        "event_time": event_time,
        "known_time": known_time,
        "removed": removed,
        "value_hash": value_hash or name,
        **values,
    }
    marks = ", ".join(f"${name} as {name}" for name in row)
    duck.execute(f"insert into {DOCUMENT_TEXT.table} by name select {marks}", row)


def fill(duck: duckdb.Connection, day: date, count: int, mean: float, name: str = "") -> None:
    """Documents that came on a day, all at once."""
    generator = np.random.default_rng(day.toordinal())
    duck.execute(
        f"insert into {DOCUMENT_TEXT.table} by name select * from (select unnest($names) as"
        " entity_id, $at::timestamptz as event_time, $at::timestamptz as known_time, false as"
        " removed, unnest($names) as value_hash, unnest($values) as characters)",
        {
            "names": [f"{name}{day}-{number}" for number in range(count)],
            "at": datetime(day.year, day.month, day.day, 9, tzinfo=UTC),
            "values": np.rint(generator.normal(mean, 20, count)).tolist(),
        },
    )


def days(number: int) -> date:
    """So many days before."""
    return DAY - timedelta(days=number)


def test_the_statistics_of_a_day_are_those_of_its_values(
    connection: postgres.Connection, duck: duckdb.Connection
) -> None:
    """Computed in SQL and in Python alike, the sketch too."""
    values = [3.0, 0.0, -12.5, 1e9, 1e-12, 0.37, 12345.678, None, float("inf"), 3.0]
    for number, value in enumerate(values):
        write(duck, f"d{number}", reading_ease=value, characters=number)
    refresh_statistics(connection, duck, Window(DAY, DAY))
    expected = summarize_numbers(np.array(values, np.float64))
    found = read_statistics(duck, Window(DAY, DAY))[EASE]
    assert (found.rows, found.missing) == (10, 2)
    assert dict(found.counts) == dict(expected.counts)
    assert found.mean == pytest.approx(expected.mean)
    assert found.deviation == pytest.approx(expected.deviation)
    query = "select quantiles from feature_statistics where feature = 'characters'"
    ((quantiles,),) = duck.execute(query).fetchall()
    assert quantiles == [0, 0, 0, 2, 4, 7, 9, 9, 9]
    assert len(quantiles) == len(QUANTILES)


def test_days_are_merged_and_a_day_is_written_anew(
    connection: postgres.Connection, duck: duckdb.Connection
) -> None:
    for number in range(3):
        fill(duck, days(number), 10, 100)
    refresh_statistics(connection, duck, Window(days(2), DAY))
    whole = read_statistics(duck, Window(days(2), DAY))[LENGTHS]
    assert (whole.rows, sum(whole.counts.values())) == (30, 30)
    assert read_statistics(duck, Window(days(1), DAY))[LENGTHS].rows == 20
    fill(duck, DAY, 5, 100, "late")
    refresh_statistics(connection, duck, Window(DAY, DAY))
    assert read_statistics(duck, Window(days(2), DAY))[LENGTHS].rows == 35
    assert read_statistics(duck, Window(days(9), days(8))) == {}


def test_a_document_comes_once_with_its_first_values_as_known_last(
    connection: postgres.Connection, duck: duckdb.Connection
) -> None:
    later, known = NOON + timedelta(days=1), NOON + timedelta(days=2)
    write(duck, "corrected", characters=1)
    write(duck, "corrected", known_time=known, characters=2)
    write(duck, "neighbours changed", characters=3)
    write(duck, "neighbours changed", later, later, characters=3, nearest_distance=0.5)
    write(duck, "removed", characters=4)
    write(duck, "removed", later, later, removed=True)
    write(duck, "midnight", NOON + timedelta(hours=12), later, characters=5)
    came = documents_that_came(duck, Window(DAY, DAY)).set_index("document_id")
    assert came.index.tolist() == ["corrected", "neighbours changed", "removed"]
    assert came.loc["corrected", "known_since"] == NOON
    assert len(documents_that_came(duck)) == 4
    left = documents_that_came(duck, alive=True)
    assert left["document_id"].tolist() == ["corrected", "midnight", "neighbours changed"]
    assert with_features(connection, duck, left)[LENGTHS].tolist() == [2, 5, 3]
    now = documents_as_now(duck, ["neighbours changed", "removed"])
    assert now["event_time"].tolist() == [later]
    found = with_features(connection, duck, now)["document_text__nearest_distance"]
    assert found.tolist() == [0.5]
    refresh_statistics(connection, duck, Window(DAY, DAY))
    assert dict(read_statistics(duck, Window(DAY, DAY))[LENGTHS].counts) == dict(
        summarize_numbers(np.array([2.0, 3.0, 4.0])).counts
    )


def test_the_window_is_the_shortest_that_holds_enough(duck: duckdb.Connection) -> None:
    fill(duck, DAY, MIN_ROWS - 1, 100)
    assert current_window(documents_that_came(duck), DAY) == Window(days(27), DAY)
    fill(duck, days(6), 1, 100)
    assert current_window(documents_that_came(duck), DAY) == Window(days(6), DAY)
    fill(duck, DAY, 1, 100, "one more")
    came = documents_that_came(duck)
    assert current_window(came, DAY) == Window(DAY, DAY)
    assert len(within(came, Window(DAY, DAY))) == MIN_ROWS
    assert Window(DAY, DAY).before(7) == Window(days(7), days(1))


@pytest.fixture
def month(connection: postgres.Connection, duck: duckdb.Connection) -> duckdb.Connection:
    """Ever as many documents a day, for five weeks."""
    for number in range(35):
        fill(duck, days(number), 60, 100)
    return duck


def look(
    connection: postgres.Connection, duck: duckdb.Connection, day: date = DAY
) -> list[DayComparison]:
    """Compare what came until a day, by fresh statistics."""
    refresh_days(connection, duck, day, day)
    return compare_with_days_before(connection, duck, day, SPACE_ID)


def outcomes(compared: list[DayComparison]) -> dict[str, str]:
    return {each.reference: each.comparison.outcome for each in compared}


def test_days_that_are_alike_do_not_drift(
    connection: postgres.Connection, month: duckdb.Connection
) -> None:
    compared = look(connection, month)
    assert outcomes(compared) == {"7 days": "no drift", "28 days": "no drift"}
    near, far = (each.comparison for each in compared)
    assert (near.current_rows, near.reference_rows, far.reference_rows) == (420, 420, 28 * 60)
    assert compared[0].first_day == days(6)


def test_what_changes_on_a_day_came_suddenly(
    connection: postgres.Connection, month: duckdb.Connection
) -> None:
    fill(month, DAY, 300, 150, "other")
    compared = look(connection, month)
    assert outcomes(compared) == {"7 days": "drift", "28 days": "drift"}
    [(finding, how)] = how_it_came(compared)
    assert (finding.feature, how) == (LENGTHS, "suddenly")
    # A day later the same is seen against a week that has it.
    write_comparisons(month, DAY, compared)
    assert read_comparisons(month)[0].comparison.drifted[0].feature == LENGTHS


def test_what_creeps_is_seen_against_the_month_alone(
    connection: postgres.Connection, duck: duckdb.Connection
) -> None:
    for number in range(35):
        fill(duck, days(number), 250, 100 + max(0, 28 - number) * 0.6)
    compared = look(connection, duck)
    assert outcomes(compared) == {"7 days": "no drift", "28 days": "drift"}
    [(finding, how)] = how_it_came(compared)
    assert (finding.feature, how) == (LENGTHS, "slowly")


def test_without_days_before_there_is_nothing_to_compare(
    connection: postgres.Connection, duck: duckdb.Connection
) -> None:
    """All of a home that was filled today."""
    fill(duck, DAY, 500, 100)
    compared = look(connection, duck)
    assert {each.comparison.message for each in compared} == {"no document came before"}
    later = look(connection, duck, DAY + timedelta(days=40))
    assert {each.comparison.message for each in later} == {"no document came"}
    fill(duck, days(1), 50, 100)
    assert outcomes(look(connection, duck)) == {
        "7 days": "cannot tell",
        "28 days": "cannot tell",
    }
    fill(duck, days(1), MIN_ROWS - 50, 100, "other")
    (near, _) = look(connection, duck)
    assert near.comparison.reference_rows == MIN_ROWS
    assert "rows" in {finding.feature for finding in near.comparison.findings}


def test_what_was_found_is_kept_by_day(duck: duckdb.Connection) -> None:
    values = np.random.default_rng(0).normal(0, 1, 600)
    drifted = compare(
        Sample(300, {"x": summarize_numbers(values[:300])}),
        Sample(300, {"x": summarize_numbers(values[300:] + 2)}),
    )
    assert read_comparisons(duck) == []
    first = [DayComparison(days(1), "training set", days(3), drifted, 4)]
    nothing = Comparison("nothing to compare", "no document came")
    second = [DayComparison(DAY, "7 days", DAY, nothing)]
    write_comparisons(duck, days(1), first)
    write_comparisons(duck, DAY, second)
    assert read_comparisons(duck) == second
    assert read_comparisons(duck, days(1)) == first
    write_comparisons(duck, days(1), [])
    assert read_comparisons(duck, days(1)) == []


def test_how_it_came_is_not_known_without_days_to_compare_with() -> None:
    values = np.random.default_rng(0).normal(0, 1, 600)
    drifted = compare(
        Sample(300, {"x": summarize_numbers(values[:300])}),
        Sample(300, {"x": summarize_numbers(values[300:] + 2)}),
    )
    training = DayComparison(DAY, "training set", DAY, drifted, 4)
    [(_, how)] = how_it_came([training])
    assert how == ""
    alike = compare(
        Sample(300, {"x": summarize_numbers(values[:300])}),
        Sample(300, {"x": summarize_numbers(values[300:])}),
    )
    [(_, how)] = how_it_came([training, DayComparison(DAY, "7 days", DAY, alike)])
    assert how == "slowly"
    few = DayComparison(DAY, "7 days", DAY, Comparison("cannot tell", "200 of both are needed"))
    [(_, how)] = how_it_came([training, few])
    assert how == ""


def test_groups_are_counted_by_size() -> None:
    assert group_sizes(["a", "b", "a", "c"]) == {2: 1, 1: 2}


def test_every_event_of_a_view_with_history_counts_and_names_are_counted(
    connection: postgres.Connection, duck: duckdb.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = FeatureView(
        name="author_rate",
        version=3,
        entity="author",
        description="What an author writes",
        features=(Feature("rate", "double", "a day"), Feature("tier", "varchar", "of the plan")),
        uses=frozenset({"monitoring"}),
        source=Query("select author, at, rate, tier from documents", event_time="at"),
    )
    monkeypatch.setattr(statistics, "views_for", lambda _: (view,))
    refresh_statistics(connection, duck, Window(DAY, DAY))
    assert read_statistics(duck, Window(DAY, DAY)) == {}, "it has a table, and nothing in it"
    events = [
        (NOON, NOON, False, 1.0, "free"),
        (NOON, NOON + timedelta(hours=1), False, 2.0, "paid"),
        (NOON + timedelta(hours=2), NOON, False, 4.0, None),
        (NOON + timedelta(hours=3), NOON, False, 8.0, "free"),
        (NOON + timedelta(hours=3), NOON + timedelta(hours=4), True, None, None),
    ]
    for at, known, removed, rate, tier in events:
        row = ["ann", at, known, removed, "", rate, tier]
        duck.execute(f"insert into {view.table} values (?, ?, ?, ?, ?, ?, ?)", row)
    refresh_statistics(connection, duck, Window(DAY, DAY))
    found = read_statistics(duck, Window(DAY, DAY))
    assert found["author_rate__rate"].mean == 3
    tier = found["author_rate__tier"]
    assert (tier.numeric, tier.rows, tier.missing) == (False, 2, 1)
    assert dict(tier.counts) == {"paid": 1}


def test_vectors_of_documents_are_of_unit_length(
    connection: postgres.Connection, load: Load
) -> None:
    """That of a document of many chunks is their mean, which is shorter."""
    load(*DOCUMENTS)
    vectors = statistics.some_vectors(connection, SPACE_ID, ["prose", "words"])
    assert vectors.shape == (2, SPACE.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
