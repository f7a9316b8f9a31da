import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ml_assets.errors import FeatureViewError, NothingToDoError
from ml_assets.features import Feature, FeatureView, Query, Table, join
from ml_assets.features.join import point_in_time_join
from ml_assets.features.offline import create_table
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores import duckdb
from ml_assets.stores.sql import statement

START = datetime(2026, 1, 1, tzinfo=UTC)


class Row(NamedTuple):
    """One offline row; times in days, the value in `words`."""

    entity: str
    event: int
    known: int
    words: int | None

    @property
    def removed(self) -> bool:
        return self.words is None


class Label(NamedTuple):
    """One spine row; a cutoff of None means all that is known."""

    entity: str
    event: int
    cutoff: int | None


def at(day: int | None) -> datetime | None:
    return None if day is None else START + timedelta(days=day)


@pytest.fixture(scope="module")
def duck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.Connection]:
    with duckdb.connect(tmp_path_factory.mktemp("join") / "a.duckdb") as opened:
        yield opened


@pytest.fixture(autouse=True, params=[0, join.FEW], ids=["many", "few"])
def _few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to find the nearest row: for many spine rows of an entity, and for few."""
    monkeypatch.setattr(join, "FEW", request.param)


def fill(duck: duckdb.Connection, rows: list[Row], view: FeatureView = DOCUMENT_TEXT) -> None:
    columns = {
        "entity_id": [row.entity for row in rows],
        "event_time": [at(row.event) for row in rows],
        "known_time": [at(row.known) for row in rows],
        "removed": [row.removed for row in rows],
        "words": [row.words for row in rows],
    }
    given = ", ".join(f"unnest(${name}) as {name}" for name in columns)
    duck.execute(f"delete from {view.table}")
    if rows:
        duck.execute(f"insert into {view.table} by name select '' as value_hash, {given}", columns)


def spine_of(labels: list[Label]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "document_id": pd.Series([label.entity for label in labels], dtype=object),
            "event_time": pd.to_datetime([at(label.event) for label in labels], utc=True),
            "known_time": pd.to_datetime([at(label.cutoff) for label in labels], utc=True),
        }
    )


def oracle(rows: list[Row], label: Label, ttl: int | None) -> int | None:
    """The definition, in plain words."""
    allowed = [
        row
        for row in rows
        if row.entity == label.entity
        and row.event <= label.event
        and (label.cutoff is None or row.known <= label.cutoff)
    ]
    if not allowed:
        return None
    latest = max(allowed, key=lambda row: (row.event, row.known))
    return latest.words if ttl is None or label.event - latest.event <= ttl else None


days = st.integers(0, 6)
ttls = st.none() | st.integers(1, 6)
entities = st.sampled_from(["a", "b"])
histories = st.lists(
    st.builds(Row, entities, days, days, st.none() | st.integers(0, 99)),
    max_size=14,
    unique_by=lambda row: row[:3],
)
spines = st.lists(
    st.builds(Label, st.sampled_from(["a", "b", "unknown"]), days, st.none() | days), max_size=8
)


def test_the_join_is_its_definition(duck: duckdb.Connection) -> None:
    @hypothesis_settings(max_examples=100, deadline=None)
    @given(rows=histories, labels=spines, ttl=ttls)
    def check(rows: list[Row], labels: list[Label], ttl: int | None) -> None:
        view = replace(DOCUMENT_TEXT, ttl=None if ttl is None else timedelta(days=ttl))
        fill(duck, rows)
        joined = point_in_time_join(duck, spine_of(labels), [view])
        found = [None if pd.isna(words) else words for words in joined["document_text__words"]]
        assert found == [oracle(rows, label, ttl) for label in labels]

    check()


def test_a_late_row_counts_only_for_those_who_knew_it(duck: duckdb.Connection) -> None:
    # Day 2 was corrected on day 5, after day 3 had been written on day 3.
    fill(duck, [Row("a", 1, 1, 10), Row("a", 3, 3, 30), Row("a", 2, 5, 20)])
    labels = [Label("a", 2, 4), Label("a", 2, 5), Label("a", 2, None), Label("a", 4, 4)]
    words = point_in_time_join(duck, spine_of(labels), [DOCUMENT_TEXT])["document_text__words"]
    assert (words.tolist(), str(words.dtype)) == ([10, 20, 20, 30], "int64")


def test_a_correction_of_a_tombstone(duck: duckdb.Connection) -> None:
    fill(duck, [Row("a", 1, 1, 10), Row("a", 2, 2, None), Row("a", 2, 4, 20)])
    joined = point_in_time_join(
        duck, spine_of([Label("a", 3, 3), Label("a", 3, 4), Label("a", 1, 4)]), [DOCUMENT_TEXT]
    )
    assert joined["document_text__words"].isna().tolist() == [True, False, False]
    assert joined["document_text__event_time"].isna().tolist() == [True, False, False]
    assert joined["document_text__event_time"].tolist()[1:] == [at(2), at(1)]


def test_rows_order_index_and_columns_stay(duck: duckdb.Connection) -> None:
    fill(duck, [Row("a", 1, 1, 10), Row("b", 1, 1, 20)])
    spine = pd.DataFrame(
        {
            "label": ["y", "x", "y"],
            "document_id": ["b", "z", "a"],
            "event_time": ["2026-02-01"] * 3,
        },
        index=[7, 7, 3],
    )
    joined = point_in_time_join(duck, spine, [DOCUMENT_TEXT])
    assert joined.index.tolist() == [7, 7, 3]
    assert list(joined.columns) == [
        *spine.columns,
        "document_text__event_time",
        *DOCUMENT_TEXT.qualified,
    ]
    assert joined["document_text__words"].fillna(-1).tolist() == [20, -1, 10]
    assert list(spine.columns) == ["label", "document_id", "event_time"]


def test_every_row_of_a_shuffled_spine_has_the_values_of_its_entity(
    duck: duckdb.Connection,
) -> None:
    fill(duck, [Row(f"d{number}", 1, 1, number) for number in range(40)])
    asked = [number * 7 % 43 for number in range(300)]
    spine = spine_of([Label(f"d{number}", 2, None) for number in asked])
    found = point_in_time_join(duck, spine, [DOCUMENT_TEXT])["document_text__words"]
    assert found.fillna(-1).tolist() == [number if number < 40 else -1 for number in asked]


def test_naive_times_are_utc(duck: duckdb.Connection) -> None:
    fill(duck, [Row("a", 1, 1, 10)])
    spine = pd.DataFrame(
        {
            "document_id": ["a", "a", "a"],
            "event_time": [
                pd.Timestamp("2026-01-02"),
                pd.Timestamp("2026-01-01 23:59"),
                pd.Timestamp("2026-01-02 01:00", tz="Europe/Berlin").tz_convert(None),
            ],
        }
    )
    found = point_in_time_join(duck, spine, [DOCUMENT_TEXT])["document_text__words"]
    assert found.fillna(-1).tolist() == [10, -1, 10]


def test_views_of_different_entities(duck: duckdb.Connection) -> None:
    fill(duck, [Row("a", 1, 1, 10)])
    duck.execute(
        f"insert into {COLLECTION_ACTIVITY.table} by name select 'c' as entity_id, ? as event_time,"
        " ? as known_time, false as removed, '' as value_hash, 5 as document_count",
        [at(1), at(1)],
    )
    spine = pd.DataFrame({"document_id": ["a"], "collection": ["c"], "event_time": [at(2)]})
    joined = point_in_time_join(duck, spine, [DOCUMENT_TEXT, COLLECTION_ACTIVITY])
    assert joined["document_text__words"].tolist() == [10]
    assert joined["collection_activity__document_count"].tolist() == [5]


def test_a_spine_without_its_columns_is_a_clear_line(duck: duckdb.Connection) -> None:
    with pytest.raises(FeatureViewError, match=r"no column document_id.*it has id, event_time"):
        point_in_time_join(
            duck, pd.DataFrame({"id": ["a"], "event_time": [at(1)]}), [DOCUMENT_TEXT]
        )


EVENTS = FeatureView(
    name="events",
    version=1,
    entity="author",
    description="Events from elsewhere, which come and go",
    features=(Feature("words", "bigint", ""),),
    uses=frozenset({"training"}),
    source=Table("events.parquet", "author", "at", "known"),
)
SO_FAR = replace(
    EVENTS, name="so_far", source=Query("select author, at, words from documents", event_time="at")
)


class Asked(NamedTuple):
    """One row of a spine; `document` is when the document of the row came to be."""

    entity: str | None
    event: int
    cutoff: int | None
    document: int | None


def fill_events(duck: duckdb.Connection, view: FeatureView, rows: list[Row]) -> None:
    create_table(duck, view)
    fill(duck, rows, view)


def asked_spine(asked: list[Asked]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "author": pd.Series([row.entity for row in asked], dtype=object),
            "event_time": pd.to_datetime([at(row.event) for row in asked], utc=True),
            "known_time": pd.to_datetime([at(row.cutoff) for row in asked], utc=True),
            "document_time": pd.to_datetime([at(row.document) for row in asked], utc=True),
        }
    )


def events_oracle(
    rows: list[Row], asked: Asked, ttl: int | None, *, strict: bool, told: bool
) -> int | None:
    """The definition, in plain words: each event as it was known, those taken back left out.

    `told`: the source tells when a row was known.
    """
    ends = [asked.cutoff, asked.document if told else None]
    known = [
        row
        for row in rows
        if row.entity == asked.entity and all(end is None or row.known <= end for end in ends)
    ]
    versions = [
        max((row for row in known if row.event == event), key=lambda row: row.known)
        for event in {row.event for row in known}
    ]
    end = asked.event if asked.document is None else min(asked.event, asked.document)
    before = [
        row
        for row in versions
        if not row.removed and (row.event < end if strict else row.event <= end)
    ]
    if not before:
        return None
    latest = max(before, key=lambda row: row.event)
    return latest.words if ttl is None or end - latest.event <= ttl else None


asked_rows = st.lists(
    st.builds(
        Asked,
        st.sampled_from(["a", "b", "unknown", None]),
        days,
        st.none() | days,
        st.none() | days,
    ),
    max_size=8,
)


def test_events_of_two_entities_are_joined_by_their_definition(
    duck: duckdb.Connection,
) -> None:
    @hypothesis_settings(max_examples=100, deadline=None)
    @given(rows=histories, others=histories, asked=asked_rows, ttl=ttls)
    def check(rows: list[Row], others: list[Row], asked: list[Asked], ttl: int | None) -> None:
        given_ttl = None if ttl is None else timedelta(days=ttl)
        events, so_far = replace(EVENTS, ttl=given_ttl), replace(SO_FAR, ttl=given_ttl)
        texts = replace(DOCUMENT_TEXT, ttl=given_ttl)
        fill_events(duck, events, rows)
        fill_events(duck, so_far, others)
        fill(duck, rows)
        spine = asked_spine(asked).assign(document_id=[row.entity for row in asked])
        untold = replace(events, name="untold", source=Table("events.parquet", "author", "at"))
        fill_events(duck, untold, rows)
        joined = point_in_time_join(duck, spine, [events, so_far, texts, untold])

        def found(name: str) -> list[int | None]:
            return [None if pd.isna(words) else words for words in joined[name]]

        assert found("events__words") == [
            events_oracle(rows, row, ttl, strict=False, told=True) for row in asked
        ]
        assert found("untold__words") == [
            events_oracle(rows, row, ttl, strict=False, told=False) for row in asked
        ]
        assert found("so_far__words") == [
            events_oracle(others, row, ttl, strict=True, told=False) for row in asked
        ]
        assert found("document_text__words") == [
            oracle(rows, Label(row.entity or "", row.event, row.cutoff), ttl) for row in asked
        ]
        pd.testing.assert_frame_equal(joined[list(spine)], spine)

    check()


def test_an_event_of_the_same_instant_counts_unless_it_may_be_the_document(
    duck: duckdb.Connection,
) -> None:
    for view in (EVENTS, SO_FAR):
        fill_events(duck, view, [Row("a", 1, 1, 10), Row("a", 2, 2, 20)])
    spine = asked_spine([Asked("a", 2, None, None), Asked("a", 5, None, 2)])
    joined = point_in_time_join(duck, spine, [EVENTS, SO_FAR])
    assert joined["events__words"].tolist() == [20, 20]
    assert joined["so_far__words"].tolist() == [10, 10]
    fill_events(duck, SO_FAR, [Row("a", 2, 2, 20)])
    assert point_in_time_join(duck, spine, [SO_FAR])["so_far__words"].isna().all()


def test_what_was_corrected_after_a_document_came_is_not_known_to_it(
    duck: duckdb.Connection,
) -> None:
    """Though its label is later than the correction, and than the next event."""
    fill_events(duck, EVENTS, [Row("a", 1, 1, 10), Row("a", 1, 4, 15), Row("a", 5, 5, 50)])
    spine = asked_spine([Asked("a", 6, None, day) for day in (0, 2, 4, 5, None)])
    found = point_in_time_join(duck, spine, [EVENTS])["events__words"]
    assert found.fillna(-1).tolist() == [-1, 10, 15, 50, 50]


def test_an_event_that_was_taken_back_counts_for_those_who_still_knew_it(
    duck: duckdb.Connection,
) -> None:
    fill_events(duck, EVENTS, [Row("a", 1, 1, 10), Row("a", 2, 2, 20), Row("a", 2, 4, None)])
    spine = asked_spine([Asked("a", 3, 3, None), Asked("a", 3, 4, None), Asked("a", 3, None, None)])
    joined = point_in_time_join(duck, spine, [EVENTS])
    assert joined["events__words"].tolist() == [20, 10, 10]


def test_the_hour_that_the_clocks_go_back(duck: duckdb.Connection) -> None:
    create_table(duck, EVENTS)
    duck.execute(f"delete from {EVENTS.table}")
    for hour, words in ((0, 10), (1, 20)):  # 02:00 in Berlin twice: first of summer, then of winter
        moment = datetime(2026, 10, 25, hour, tzinfo=UTC)
        duck.execute(
            f"insert into {EVENTS.table} values ('a', ?, ?, false, '', ?)", [moment, moment, words]
        )
    local = pd.to_datetime(["2026-10-25 00:30Z", "2026-10-25 01:30Z"]).tz_convert("Europe/Berlin")
    assert [time.strftime("%H:%M") for time in local] == ["02:30", "02:30"]
    spine = pd.DataFrame({"author": ["a", "a"], "event_time": local})
    assert point_in_time_join(duck, spine, [EVENTS])["events__words"].tolist() == [10, 20]


def test_numbers_are_entities_too(duck: duckdb.Connection) -> None:
    named = [Row("None", 1, 1, 30), Row("nan", 1, 1, 30), Row("<NA>", 1, 1, 30)]
    fill_events(duck, EVENTS, [Row("7", 1, 1, 10), Row("7.5", 1, 1, 20), *named])
    mixed = ([7, "8"], pd.Series([7, None], dtype=object))
    for authors in (["7", None], [7, 8], [7.0, None], [7.0, 7.5], *mixed):
        spine = pd.DataFrame({"author": authors, "event_time": [at(2)] * 2})
        found = point_in_time_join(duck, spine, [EVENTS])["events__words"].fillna(-1).tolist()
        assert found == [10, 20 if authors[1] == 7.5 else -1]


def test_which_way_is_taken_follows_from_the_entity_with_most_rows(
    duck: duckdb.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(duck, [Row("a", 1, 1, 10)])
    asked: list[str] = []

    def watched(name: str) -> str:
        asked.append(name.rpartition("/")[2])
        return statement(name)

    monkeypatch.setattr(join, "statement", watched)
    monkeypatch.setattr(join, "FEW", 2)
    for entities in (["a", "a", "b", "b"], ["a", "b", "b", "b"], []):
        point_in_time_join(duck, spine_of([Label(e, 2, None) for e in entities]), [DOCUMENT_TEXT])
    ways = [name for name in asked if name.startswith("nearest")]
    assert ways == ["nearest_to_few", "nearest_to_many", "nearest_to_few"]


def test_a_row_without_a_time_or_an_entity_is_kept_and_knows_nothing(
    duck: duckdb.Connection,
) -> None:
    """Others give it twice, or drop it, where two rows of a spine have one key and time."""
    fill(duck, [Row("a", 1, 1, 10), Row("a", 2, 2, 20)])
    spine = spine_of([Label("a", 2, None), Label("a", 2, None), Label("a", 2, None)])
    spine["order"] = ["first", "second", "third"]
    spine.loc[1, "event_time"] = pd.NaT
    spine.loc[2, "document_id"] = None
    joined = point_in_time_join(duck, spine, [DOCUMENT_TEXT])
    assert joined["order"].tolist() == ["first", "second", "third"]
    assert joined["document_text__words"].fillna(-1).tolist() == [20, -1, -1]
    twice = pd.concat([spine[:1], spine[:1].assign(order="same")])
    assert point_in_time_join(duck, twice, [DOCUMENT_TEXT])["order"].tolist() == ["first", "same"]


def test_of_three_versions_of_an_event_the_one_known_last_counts(
    duck: duckdb.Connection,
) -> None:
    fill(duck, [Row("a", 1, 3, 30), Row("a", 1, 1, 10), Row("a", 1, 2, 20)])
    labels = [Label("a", 4, cutoff) for cutoff in (0, 1, 2, None)]
    found = point_in_time_join(duck, spine_of(labels), [DOCUMENT_TEXT])["document_text__words"]
    assert found.fillna(-1).tolist() == [-1, 10, 20, 30]


@pytest.mark.parametrize(
    ("author", "days", "message"),
    [
        ("a", (9, None), "the values of events of 'a' held till 2026-01-04 00:00:00 UTC"),
        ("a", (3, 2), "of 2026-01-02 00:00:00 UTC, and known since 2026-01-04 00:00:00 UTC"),
        ("b", (9, None), "events has no values of 'b'. Run `ml-assets run`, or check the author"),
    ],
)
def test_why_there_are_no_values_is_told(
    duck: duckdb.Connection, author: str, days: tuple[int | None, int | None], message: str
) -> None:
    view = replace(EVENTS, ttl=timedelta(days=2))
    fill_events(duck, view, [Row("a", 1, 3, 10)])
    event, known = (moment and moment.isoformat() for moment in map(at, days))
    with pytest.raises(NothingToDoError, match=re.escape(message)):
        join.values_as_of(duck, view, author, event, known)
