from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ml_assets.errors import FeatureViewError
from ml_assets.features.join import point_in_time_join
from ml_assets.features.views.collection_activity import COLLECTION_ACTIVITY
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.stores import duckdb

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


def fill(duck: duckdb.Connection, rows: list[Row]) -> None:
    duck.execute(f"delete from {DOCUMENT_TEXT.table}")
    for row in rows:
        duck.execute(
            f"insert into {DOCUMENT_TEXT.table} by name select ? as entity_id, ? as event_time,"
            " ? as known_time, ? as removed, '' as value_hash, ? as words",
            [row.entity, at(row.event), at(row.known), row.removed, row.words],
        )


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
entities = st.sampled_from(["a", "b"])
histories = st.lists(
    st.builds(Row, entities, days, days, st.none() | st.integers(0, 99)),
    max_size=14,
    unique_by=lambda row: row[:3],
)
spines = st.lists(
    st.builds(Label, st.sampled_from(["a", "b", "unknown"]), days, st.none() | days), max_size=8
)


def test_the_join_is_its_definition(tmp_path: Path) -> None:
    @hypothesis_settings(max_examples=100, deadline=None)
    @given(rows=histories, labels=spines, ttl=st.none() | days)
    def check(rows: list[Row], labels: list[Label], ttl: int | None) -> None:
        view = replace(DOCUMENT_TEXT, ttl=None if ttl is None else timedelta(days=ttl))
        with duckdb.connect(tmp_path / "a.duckdb") as duck:
            fill(duck, rows)
            joined = point_in_time_join(duck, spine_of(labels), [view])
        found = [None if pd.isna(words) else words for words in joined["document_text__words"]]
        assert found == [oracle(rows, label, ttl) for label in labels]

    check()


def test_a_late_row_counts_only_for_those_who_knew_it(duck: duckdb.Connection) -> None:
    # Day 2 was corrected on day 5, after day 3 had been written on day 3.
    fill(duck, [Row("a", 1, 1, 10), Row("a", 3, 3, 30), Row("a", 2, 5, 20)])
    labels = [Label("a", 2, 4), Label("a", 2, 5), Label("a", 2, None), Label("a", 4, 4)]
    joined = point_in_time_join(duck, spine_of(labels), [DOCUMENT_TEXT])
    assert joined["document_text__words"].tolist() == [10, 20, 20, 30]


def test_a_correction_of_a_tombstone(duck: duckdb.Connection) -> None:
    fill(duck, [Row("a", 1, 1, 10), Row("a", 2, 2, None), Row("a", 2, 4, 20)])
    joined = point_in_time_join(
        duck, spine_of([Label("a", 3, 3), Label("a", 3, 4), Label("a", 1, 4)]), [DOCUMENT_TEXT]
    )
    assert joined["document_text__words"].isna().tolist() == [True, False, False]
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
