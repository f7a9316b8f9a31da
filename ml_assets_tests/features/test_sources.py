"""Views by query, function and table: from what a user writes to offline rows."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from ml_assets.delta import Delta
from ml_assets.documents.model import Document
from ml_assets.errors import FeatureViewError, SourceError
from ml_assets.features import Feature, FeatureView, Function, Query, Table
from ml_assets.features.join import point_in_time_join
from ml_assets.features.offline import (
    drop_table,
    refresh_source,
    rows_came,
    rows_left_out,
    statistics,
    stored_views,
)
from ml_assets.features.online import refresh_online
from ml_assets.features.quality import altered_values, follows_from_later, value_ranges
from ml_assets.features.sources import table
from ml_assets.features.sources.corpus import Corpus, reads_field
from ml_assets.stores import duckdb, online, postgres
from ml_assets_tests.features.corpus import Load
from ml_assets_tests.features.own_views import (
    AUTHORS,
    CALLS,
    SHOUTING,
    STATS,
    current,
    shouting,
)


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def by(author: object, number: int, label: str = "x", text: str = "Some words.") -> Document:
    name = f"{author}{number}"
    return Document(
        name,
        "a",
        text,
        label=label,
        metadata={"author": author},
        created_at=day(number),  # type: ignore[dict-item]
    )


@pytest.fixture
def corpus(connection: postgres.Connection, duck: duckdb.Connection) -> Corpus:
    return Corpus(connection, duck)


def history(duck: duckdb.Connection, view: FeatureView) -> list[tuple[Any, ...]]:
    columns = ", ".join(view.columns)
    query = f"select entity_id, event_time, removed, {columns} from {view.table} order by all"
    return duck.execute(query).fetchall()


def test_a_query_with_a_history(corpus: Corpus, load: Load) -> None:
    load(by("ann", 1), by("ann", 3, "y"), by("bob", 2), Document("none", "a", "No author."))
    assert refresh_source(corpus, AUTHORS) == Delta(added=3)
    assert refresh_source(corpus, AUTHORS) == Delta(unchanged=4)  # documents: nothing was read
    assert history(corpus.duck, AUTHORS) == [
        ("ann", day(1), False, 1, 1.0, "x"),
        ("ann", day(3), False, 2, 0.5, "y"),
        ("bob", day(2), False, 1, 1.0, "x"),
    ]
    load(by("ann", 1, "y"), by("ann", 3, "y"), Document("none", "a", "No author."))
    assert refresh_source(corpus, AUTHORS) == Delta(changed=2, removed=1)
    assert current(corpus.duck, AUTHORS) == {
        "ann": {"documents": 2, "share_x": 0.0, "last_label": "y"}
    }
    assert len(history(corpus.duck, AUTHORS)) == 6  # appended, never rewritten
    load(by("ann", 1, "y"), by("ann", 3, "y"), by("bob", 2))
    assert refresh_source(corpus, AUTHORS) == Delta(added=1, unchanged=2)
    assert current(corpus.duck, AUTHORS)["bob"]["documents"] == 1
    assert altered_values(corpus.duck, AUTHORS) == []


def test_ranges_and_statistics_of_all_types(corpus: Corpus, load: Load) -> None:
    load(by("ann", 1), by("bob", 2, label="y"))
    refresh_source(corpus, AUTHORS)
    assert all(report.sound for report in value_ranges(corpus.duck, AUTHORS))
    corpus.duck.execute(f"update {AUTHORS.table} set share_x = null where entity_id = 'ann'")
    corpus.duck.execute(f"update {AUTHORS.table} set last_label = null, documents = 0")
    reports = {report.feature: report for report in value_ranges(corpus.duck, AUTHORS)}
    assert [reports[name].sound for name in AUTHORS.columns] == [False, False, True]
    assert (reports["documents"].below, reports["share_x"].refused) == (2, 1)
    assert reports["last_label"].unknown == 2
    told = {row["feature"]: row for row in statistics(corpus.duck, AUTHORS)}
    assert (told["share_x"]["known"], told["share_x"]["mean"]) == (1, 0.0)
    assert told["last_label"]["mean"] is None
    assert [p.problem for p in altered_values(corpus.duck, AUTHORS)] == [
        "entities_with_altered_values"
    ]


def test_a_query_of_now(corpus: Corpus, load: Load) -> None:
    sizes = replace(
        AUTHORS,
        entity="collection",
        features=(Feature("documents", "bigint", "documents", 1),),
        source=Query("select collection, count(*) as documents from documents group by all;"),
    )
    load(by("ann", 1), by("ann", 2), Document("z", "b", "Text."))
    assert refresh_source(corpus, sizes) == Delta(added=2)
    load(by("ann", 1))
    assert refresh_source(corpus, sizes) == Delta(changed=1, removed=1)
    assert current(corpus.duck, sizes) == {"a": {"documents": 1}}


def test_a_function_computes_what_changed(corpus: Corpus, load: Load) -> None:
    load(by("ann", 1, text="AB c"), Document("d", "a", "Text.", title="T"))
    CALLS.clear()
    assert refresh_source(corpus, SHOUTING) == Delta(added=2)
    assert current(corpus.duck, SHOUTING) == {
        "ann1": {"capitals": 2, "has_title": False},
        "d": {"capitals": 1, "has_title": True},
    }
    assert history(corpus.duck, SHOUTING)[0][1] == day(1)  # true since the document was there
    load(by("ann", 1, text="AB c"), Document("d", "a", "TEXT.", title="T"))
    assert refresh_source(corpus, SHOUTING) == Delta(changed=1, unchanged=1)
    assert CALLS == [2, 1]
    assert current(corpus.duck, SHOUTING)["d"] == {"capitals": 4, "has_title": True}
    load(Document("d", "a", "TEXT.", title="T"))
    assert refresh_source(corpus, SHOUTING) == Delta(removed=1, unchanged=1)
    assert current(corpus.duck, SHOUTING).keys() == {"d"}


def test_a_function_over_a_query(corpus: Corpus, load: Load) -> None:
    loudest = replace(
        SHOUTING,
        entity="author",
        features=SHOUTING.features[:1],
        source=Function(
            shouting,
            ("text", "title"),
            "select metadata->>'author' as author, string_agg(text, '') as text, '' as title"
            " from documents group by all",
        ),
    )
    load(by("ann", 1, text="A."), by("ann", 2, text="B."), by("bob", 1, text="c."))
    refresh_source(corpus, loudest)
    assert current(corpus.duck, loudest) == {"ann": {"capitals": 2}, "bob": {"capitals": 0}}


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda rows: {"capitals": [1 / 0]}, r"ZeroDivisionError: .*test_sources.py, line \d+"),
        (lambda rows: {"capitals": [1]}, "KeyError: 'has_title'"),
        (lambda rows: {"capitals": [], "has_title": []}, "0 values of capitals for 1 rows"),
        (lambda rows: {"capitals": ["1"], "has_title": [True]}, "'1' for capitals.*bigint"),
        (lambda rows: {"capitals": [True], "has_title": [True]}, "True for capitals.*bigint"),
        (lambda rows: {"capitals": [2**63], "has_title": [True]}, f"{2**63} for capitals.*bigint"),
        (lambda rows: {"capitals": [np.ones(2)], "has_title": [0]}, r"array\(.* for capitals"),
    ],
)
def test_a_function_that_fails_is_a_line(
    corpus: Corpus, load: Load, compute: Any, message: str
) -> None:
    load(by("ann", 1))
    wrong = replace(SHOUTING, source=Function(compute))
    with pytest.raises(FeatureViewError, match=f"feature view shouting: .*{message}"):
        refresh_source(corpus, wrong)
    assert history(corpus.duck, wrong) == []


def test_a_function_may_give_values_of_numpy_and_pandas(corpus: Corpus, load: Load) -> None:
    """One that is missing is null. A feature may be called as an input is."""
    given: list[Any] = []

    def seen(rows: Any) -> dict[str, list[Any]]:
        given.extend(rows)
        numbers = [np.int64(7), pd.NA, np.nan]
        return {"title": numbers, "hour": [np.float64(0.5), None, pd.NaT]}

    features = (Feature("title", "bigint", ""), Feature("hour", "double", ""))
    view = replace(SHOUTING, features=features, source=Function(seen, ("event_time", "title")))
    load(by("ann", 1), by("ann", 2), by("ann", 3))
    assert refresh_source(corpus, view) == Delta(added=3)
    assert [row["event_time"] for row in given] == [day(1), day(2), day(3)]
    nothing = {"title": None, "hour": None}
    assert current(corpus.duck, view) == {
        "ann1": {"title": 7, "hour": 0.5},
        "ann2": nothing,
        "ann3": nothing,
    }
    load(by("ann", 1), by("ann", 2))
    assert refresh_source(corpus, view) == Delta(removed=1, unchanged=2)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select documents", "its query is refused: "),
        ("select 1 as author, 2 as documents", "no column share_x.*there are author, documents"),
        ("select 1 as author, 2 as documents from nowhere", "nowhere"),
    ],
)
def test_a_query_that_cannot_be_used_is_a_line(corpus: Corpus, sql: str, message: str) -> None:
    with pytest.raises(FeatureViewError, match=f"feature view authors: .*{message}"):
        refresh_source(corpus, replace(AUTHORS, source=Query(sql)))


def table_of(folder: Path, rows: list[tuple[Any, ...]], **more: Any) -> FeatureView:
    columns = ["author", "at", "rating", "known"][: len(rows[0])]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "stats.csv", index=False)
    return replace(STATS, source=Table(str(folder / "*.csv"), "author", "at", **more))


def test_a_table_corrected_and_shortened(corpus: Corpus, tmp_path: Path) -> None:
    rows = [("ann", "2026-01-01", 1.5), ("ann", "2026-01-02", 2.0), ("bob", "2026-01-01", None)]
    view = table_of(tmp_path, rows)
    assert refresh_source(corpus, view) == Delta(added=3)
    assert refresh_source(corpus, view) == Delta(unchanged=3)
    table_of(tmp_path, [("ann", "2026-01-01", 1.75), rows[2]])
    assert refresh_source(corpus, view) == Delta(changed=1, removed=1, unchanged=1)
    assert current(corpus.duck, view) == {"ann": {"rating": 1.75}, "bob": {"rating": None}}


def test_a_table_of_the_same_rows_ends_as_one_that_came_at_once(
    corpus: Corpus, tmp_path: Path
) -> None:
    rows = [("ann", f"2026-01-0{n}", float(n), f"2026-01-0{n + 1}") for n in (1, 2, 3)]
    late = ("ann", "2026-01-02", 2.5, "2026-01-05")  # a correction of the second
    view = table_of(tmp_path, [*rows[:2]], known_time="known")
    assert refresh_source(corpus, view) == Delta(added=2)
    table_of(tmp_path, [*rows, late])
    assert refresh_source(corpus, view) == Delta(added=1, changed=1, unchanged=1)
    stored = history(corpus.duck, view)
    other = replace(view, version=2)
    refresh_source(corpus, other)
    assert history(corpus.duck, other) == stored
    assert len(stored) == 4


def test_of_rows_at_one_time_the_last_counts(corpus: Corpus, tmp_path: Path) -> None:
    view = table_of(tmp_path, [("ann", "2026-01-01", 1.0), ("ann", "2026-01-01", 2.0)])
    refresh_source(corpus, view)
    assert current(corpus.duck, view) == {"ann": {"rating": 2.0}}


def test_times_without_a_zone_are_local(corpus: Corpus, tmp_path: Path) -> None:
    # In the night of 25 October the clocks of Berlin go back: 01:30 is before, 03:30 after it.
    rows = [("ann", "2026-10-25 01:30", 1.0), ("ann", "2026-10-25 03:30", 2.0)]
    view = table_of(tmp_path, rows, timezone="Europe/Berlin")
    refresh_source(corpus, view)
    times = [row[1] for row in history(corpus.duck, view)]
    assert times == [
        datetime(2026, 10, 24, 23, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 2, 30, tzinfo=UTC),
    ]


def test_rows_without_key_or_time_are_left_out(corpus: Corpus, tmp_path: Path) -> None:
    view = table_of(
        tmp_path, [(None, "2026-01-01", 1.0), (7.0, None, 2.0), (7.0, "2026-01-02", 3.0)]
    )
    assert refresh_source(corpus, view) == Delta(added=1)
    assert current(corpus.duck, view) == {"7": {"rating": 3.0}}  # a float only for the gap


def test_numbers_that_are_no_keys_do_not_stop_the_others(corpus: Corpus, tmp_path: Path) -> None:
    keys = ("nan", "7.0", "7.5", "inf", "1e300")
    view = table_of(tmp_path, [(key, "2026-01-01", 1.0) for key in keys])
    assert refresh_source(corpus, view) == Delta(added=4)
    assert current(corpus.duck, view).keys() == {"7", "7.5", "inf", "1e+300"}
    assert rows_left_out(corpus.duck, view) == {"it has no key": 1}


def test_what_is_left_out_is_counted_by_reason(corpus: Corpus, tmp_path: Path) -> None:
    def day_of(number: int) -> str:
        return f"2026-01-{number:02}"

    odd = [(None, day_of(1)), ("ann", None), ("ann", "soon"), ("ann", "infinity")]
    odd += [("ann", "12026-01-01"), ("ann", "0044-03-15 (BC)")]  # no clock, and no Python
    rows = [(key, at, 1.0, day_of(9)) for key, at in odd]
    rows += [("ann", day_of(1), 1.0, known) for known in ("", "later", "2999-01-01")]
    rows += [("ann", day_of(2), float(number), day_of(9)) for number in range(4)]
    view = table_of(tmp_path, rows, known_time="known")
    assert refresh_source(corpus, view) == Delta(added=2)
    expected = {
        "a later row has the same key and times": 3,
        "its event time cannot be read": 4,
        "it has no event time": 1,
        "it has no key": 1,
        "its known time cannot be read": 1,
        "its known time is still to come": 1,
    }
    assert rows_left_out(corpus.duck, view) == expected
    assert current(corpus.duck, view) == {"ann": {"rating": 3.0}}
    table_of(tmp_path, rows[-1:], known_time="known")
    refresh_source(corpus, view)
    assert rows_left_out(corpus.duck, view) == {}


def test_a_row_that_is_not_known_yet_is_read_when_it_is(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is as it was; nothing else is read again."""
    view = table_of(tmp_path, [("ann", "2026-01-01", 1.0, "2999-01-01")], known_time="known")
    read, times = Table._read, []

    def watched(*given: Any) -> None:
        times.append(1)
        read(*given)

    monkeypatch.setattr(Table, "_read", watched)
    for count in (1, 2):
        assert refresh_source(corpus, view) == Delta()
        assert len(times) == count
    assert rows_came(corpus.duck, [view], datetime.now(UTC))
    corpus.duck.execute("update feature_rows_left_out set reason = 'it has no key'")
    assert not rows_came(corpus.duck, [view], datetime.now(UTC))
    assert refresh_source(corpus, view) == Delta()
    assert len(times) == 2


def test_of_an_entity_that_a_query_gives_twice_the_last_counts(corpus: Corpus, load: Load) -> None:
    twice = replace(
        AUTHORS,
        features=(Feature("documents", "bigint", ""),),
        source=Query(
            "select * from (values ('ann', 1), ('bob', 2), ('ann', 3)) t(author, documents)"
        ),
    )
    load(by("ann", 1))
    assert refresh_source(corpus, twice) == Delta(added=2)
    assert current(corpus.duck, twice) == {"ann": {"documents": 3}, "bob": {"documents": 2}}
    assert rows_left_out(corpus.duck, twice) == {"a later row has the same key and times": 1}


def test_an_event_to_come_is_stored_and_not_yet_current(corpus: Corpus, tmp_path: Path) -> None:
    view = table_of(tmp_path, [("ann", "2026-01-01", 1.0), ("ann", "2999-01-01", 2.0)])
    assert refresh_source(corpus, view) == Delta(added=2)
    assert current(corpus.duck, view) == {"ann": {"rating": 1.0}}


def test_a_row_that_was_to_come_is_told_once_it_has(corpus: Corpus, tmp_path: Path) -> None:
    """Nothing else has changed then. One that was read after its event counted at once."""
    now = datetime.now(UTC)
    hours = [(-0.5, -2), (1, -2), (-0.4, -0.3)]
    times = [[(now + timedelta(hours=n)).isoformat() for n in pair] for pair in hours]
    rows = [("ann", event, 1.0, known) for event, known in times]
    view = table_of(tmp_path, rows, known_time="known")
    assert not rows_came(corpus.duck, [view], now - timedelta(hours=1)), "it was not computed"
    refresh_source(corpus, view)
    assert rows_came(corpus.duck, [view], now - timedelta(hours=1))
    assert not rows_came(corpus.duck, [view], now - timedelta(hours=0.45))


def test_a_file_is_known_by_its_stamp_and_a_query_is_asked(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("author,at,rating\n")
    os.utime(tmp_path / "a.csv", (0, 0))
    for url, is_known in ((f"{tmp_path}/a.csv", True), ("sql:select * from stars", False)):
        source = Table(url, "author", "at")
        assert (source.stamp() == source.stamp()) is is_known


def test_parquet_with_gaps(corpus: Corpus, tmp_path: Path) -> None:
    times = pd.to_datetime(["2026-01-01", "2026-01-01"], utc=True)
    table = pd.DataFrame({"author": [7.0, None], "at": times, "rating": [float("nan"), 1.0]})
    table.to_parquet(tmp_path / "a.parquet")
    view = replace(STATS, source=Table(str(tmp_path / "*.parquet"), "author", "at"))
    assert refresh_source(corpus, view) == Delta(added=1)
    assert current(corpus.duck, view) == {"7": {"rating": None}}


def test_a_whole_number_in_metadata_is_one_author(corpus: Corpus, load: Load) -> None:
    load(by(7, 1), by(7.0, 2), by("ann", 1))
    refresh_source(corpus, AUTHORS)
    assert current(corpus.duck, AUTHORS)["7"]["documents"] == 2


def test_a_table_of_a_database(
    connection: postgres.Connection, duck: duckdb.Connection, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with sa.create_engine(url).begin() as other:
        other.execute(sa.text("create table stars (author text, at text, rating real)"))
        other.execute(sa.text("insert into stars values ('ann', '2026-01-01 10:00:00', 4.5)"))
    view = replace(STATS, source=Table("sql:select * from stars", "author", "at"))
    with pytest.raises(FeatureViewError, match="ML_ASSETS_SOURCE_URL"):
        refresh_source(Corpus(connection, duck), view)
    assert refresh_source(Corpus(connection, duck, url), view) == Delta(added=1)
    assert refresh_source(Corpus(connection, duck, url), view) == Delta(unchanged=1)
    assert current(duck, view) == {"ann": {"rating": 4.5}}


@pytest.mark.parametrize("rows_at_once", [1, 2, 1000])
def test_a_table_of_a_database_is_read_in_parts(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    """However they fall: of a key the last row counts, and a column may have several types."""
    monkeypatch.setattr(table, "_ROWS", rows_at_once)
    url = f"sqlite:///{tmp_path / 'a.db'}"
    rows = [
        ("ann", "2026-01-01", None),
        (None, "2026-01-01", 1),
        (7, None, "2"),
        ("ann", "2026-01-01", 2.5),
        (7, "2026-01-02", "many"),
        (8, "2026-01-02", 3),
        ("ann", "2026-01-01", "4"),
    ]
    with sa.create_engine(url).begin() as other:
        other.execute(sa.text("create table stars (author, at, rating, other)"))
        given = [dict(zip(("author", "at", "rating"), row, strict=True)) for row in rows]
        other.execute(sa.text("insert into stars values (:author, :at, :rating, 1)"), given)
    view = replace(STATS, source=Table("sql:select * from stars", "author", "at"))
    opened = replace(corpus, source_url=url)
    assert refresh_source(opened, view) == Delta(added=3)
    assert current(corpus.duck, view) == {
        "ann": {"rating": 4.0},
        "7": {"rating": None},
        "8": {"rating": 3.0},
    }
    assert rows_left_out(corpus.duck, view) == {
        "a later row has the same key and times": 2,
        "it has no event time": 1,
        "it has no key": 1,
    }
    empty = Table("sql:select * from stars where false", "author", "at")
    assert refresh_source(opened, replace(view, source=empty)) == Delta(removed=3)
    lacking = replace(view, source=Table("sql:select author, other from stars", "author", "at"))
    with pytest.raises(
        FeatureViewError, match=r"no column rating and no column at; there are author, other"
    ):
        refresh_source(opened, lacking)


def test_a_table_that_cannot_be_read_is_a_line(corpus: Corpus, tmp_path: Path) -> None:
    def of(name: str) -> FeatureView:
        return replace(STATS, source=Table(str(tmp_path / name), "author", "at"))

    with pytest.raises(SourceError, match=r"nowhere.parquet: there is no such file"):
        refresh_source(corpus, of("nowhere.parquet"))
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(FeatureViewError, match=r"its table .*a.parquet is refused"):
        refresh_source(corpus, of("a.parquet"))
    with pytest.raises(FeatureViewError, match=r"none of \.parquet"):
        refresh_source(corpus, replace(STATS, source=Table(__file__, "author", "at")))
    view = table_of(tmp_path, [("ann", 5, 1.0)])
    with pytest.raises(FeatureViewError, match="column at is of type BIGINT, which is no time"):
        refresh_source(corpus, view)
    assert corpus.duck.execute("select current_setting('timezone')").fetchall() == [("UTC",)]


def test_a_table_names_its_key_and_its_time() -> None:
    with pytest.raises(FeatureViewError, match=r"the table a\.csv: its key names no column"):
        Table("a.csv", "", "at")
    with pytest.raises(FeatureViewError, match=r"its event_time names no column\. Name"):
        Table("a.csv", "author", "")
    with pytest.raises(FeatureViewError, match=r"a\.csv: its url is no text\. Write it as a text"):
        Table(Path("a.csv"), "author", "at")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dtype", "cells", "held"),
    [
        ("bigint", ["1.5", "2", "3.0", ""], [None, 2, 3, None]),
        ("bigint", ["1.5", "x"], None),
        ("bigint", ["1.5", "2.5"], None),
        ("bigint", ["9007199254740993", "7"], [9007199254740993, 7]),
        ("double", ["1,5", "2,5"], None),
        ("double", ["1.5", "many"], [1.5, None]),
        ("double", ["nan", "nan"], [None, None]),
        ("double", ["", ""], [None, None]),
        ("double", ["2026-01-01", "2026-01-02"], None),
        ("boolean", ["ja", "nein"], None),
    ],
)
def test_a_column_of_which_no_value_is_of_its_type_is_a_line(
    corpus: Corpus, tmp_path: Path, dtype: Any, cells: list[str], held: list[object] | None
) -> None:
    """A single value is null; a number with a fraction is no whole number, and is not rounded."""
    rows = "".join(f'{n},2026-01-01,"{cell}"\n' for n, cell in enumerate(cells))
    (tmp_path / "a.csv").write_text(f'"the ""key""",at,rating\n{rows}')
    table = Table(str(tmp_path / "a.csv"), 'the "key"', "at")
    view = replace(STATS, features=(Feature("rating", dtype, ""),), source=table)
    if held is None:
        with pytest.raises(FeatureViewError, match=rf"rating is of type .* is a {dtype}\. Correct"):
            refresh_source(corpus, view)
    else:
        refresh_source(corpus, view)
        found = current(corpus.duck, view)
        assert [found[f"{n}"]["rating"] for n in range(len(cells))] == held


def test_a_view_that_was_never_computed_is_a_line(duck: duckdb.Connection, tmp_path: Path) -> None:
    message = r"feature view shouting: version 1 has no values yet. Run `ml-assets run`"
    with pytest.raises(FeatureViewError, match=message):
        statistics(duck, SHOUTING)
    spine = pd.DataFrame({"document_id": ["d"], "event_time": [day(1)]})
    with pytest.raises(FeatureViewError, match=message):
        point_in_time_join(duck, spine, [SHOUTING])
    with online.connect(None, tmp_path) as store, pytest.raises(FeatureViewError, match=message):
        refresh_online(duck, store, SHOUTING)


def test_a_version_stays_until_it_is_dropped(corpus: Corpus, tmp_path: Path) -> None:
    view = table_of(tmp_path, [("ann", "2026-01-01", 1.0)])
    refresh_source(corpus, view)
    refresh_source(corpus, replace(view, version=2))
    kept = stored_views(corpus.duck)
    assert kept["stats_v1"] == kept["stats_v2"] == 1
    for name in ("features_mine", "features_stats_v02", "features_other_v1"):
        corpus.duck.execute(f"create table {name} as select 1 as event_time, 2 as removed")
    corpus.duck.execute("create view features_seen_v1 as from features_stats_v2")
    corpus.duck.execute(
        "create schema aside; create table aside.features_far_v1 as from features_stats_v2"
    )
    assert stored_views(corpus.duck) == kept, "a person's own tables are none"
    drop_table(corpus.duck, "stats_v1")
    assert "stats_v1" not in stored_views(corpus.duck)
    assert refresh_source(corpus, view) == Delta(added=1)


WRITTEN_SO_FAR = """
    select
        metadata->>'author' as author, {time} as at,
        count(*) over so_far as documents, avg(length(text)) over so_far as share_x
    from documents
    window so_far as (partition by metadata->>'author' {order})
"""
SO_FAR = "order by event_time"
CHUNKS_SO_FAR = """
    with pieces as (from chunks join documents using (document_id))
    select
        metadata->>'author' as author, event_time as at, null as share_x,
        count(*) over (partition by author {order}) as documents
    from pieces
"""
CHUNKS_ALONE = """
    select
        regexp_extract(document_id, '[a-z]+') as author, timestamptz '2026-01-01' as at,
        count(*) over (partition by author) as documents, null as share_x
    from chunks
"""
CHANGES_SO_FAR = """
    with seen as (select *, regexp_extract(document_id, '[a-z]+') as author from changes)
    select
        author, changed_at as at, null as share_x,
        count(*) over (partition by author {order}) as documents
    from seen
"""
MEAN_LENGTH = """
    select metadata->>'author' as author, event_time as at, 0 as documents,
        avg(length(text)) over (partition by author) as share_x
    from documents
"""
LABELS_SO_FAR = """
    select metadata->>'author' as author, event_time as at, 0 as documents,
        avg((label = 'x')::int) over (partition by author order by event_time) as share_x
    from documents
"""


@pytest.mark.parametrize(
    ("query", "leaks"),
    [
        (WRITTEN_SO_FAR.format(time="event_time", order=SO_FAR), []),
        (WRITTEN_SO_FAR.format(time="event_time - interval 1 day", order=SO_FAR), ["ann", "bob"]),
        (
            WRITTEN_SO_FAR.format(time="event_time - interval 1 microsecond", order=SO_FAR),
            ["ann", "bob"],
        ),
        # All that the author ever wrote, and bob but once: no document of his comes later.
        (WRITTEN_SO_FAR.format(time="event_time", order=""), ["ann"]),
        (CHUNKS_SO_FAR.format(order=SO_FAR), []),
        (CHUNKS_SO_FAR.format(order=""), ["ann"]),
        (CHUNKS_ALONE, ["ann", "bob"]),
        (CHANGES_SO_FAR.format(order="order by changed_at"), []),
        (CHANGES_SO_FAR.format(order=""), ["ann"]),
        # The label became what it is when the document was read, after all of them were there.
        (LABELS_SO_FAR, ["ann", "bob"]),
        (MEAN_LENGTH, ["ann"]),
    ],
)
def test_rows_that_follow_from_later_documents_are_found(
    connection: postgres.Connection, corpus: Corpus, load: Load, query: str, leaks: list[str]
) -> None:
    """Whether by a time before that of the document, by all documents, or by a later label."""
    load(*(by("ann", number, text="a" * number) for number in (1, 3, 4, 6)), by("bob", 2))
    connection.execute(
        "update change_log set changed_at = created_at"
        " from documents d where d.document_id = change_log.document_id"
    )
    features = (Feature("documents", "bigint", ""), Feature("share_x", "double", ""))
    view = replace(AUTHORS, features=features, source=Query(query, event_time="at"))
    assert follows_from_later(corpus, view) == leaks


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("select document_id, label from documents", {"document_id", "label"}),
        ("select document_id, count(*) as n from documents", {"document_id"}),
        ("select * from chunks", {"document_id", "collection", "title", "text"}),
        ("from chunks", {"document_id", "collection", "title", "text"}),
        ("select collection, token_count from chunks", {"collection", "title", "text"}),
        ("select collection, change_id from changes", {"collection"}),
        ("select metadata->>'author' as a from documents", {"metadata.author"}),
        ("select json_extract(metadata, '$.author') from documents", {"metadata.author"}),
        ("select json_keys(metadata) from documents", {"metadata.author", "metadata.shelf"}),
        ("select group_id, event_time from documents", {"group", "created_at"}),
        ("select label_time from documents", {"created_at"}),
        ("select label from elsewhere", set()),
    ],
)
def test_a_query_tells_which_fields_it_may_read(query: str, fields: set[str]) -> None:
    known = ("document_id", "collection", "title", "text", "label", "url", "group", "created_at")
    known += ("metadata.author", "metadata.shelf")
    assert {field for field in known if reads_field(query, field)} == fields


def test_a_source_tells_which_fields_it_uses() -> None:
    assert SHOUTING.source
    assert AUTHORS.source
    fields = ("title", "text", "label", "metadata.author")
    assert [field for field in fields if SHOUTING.source.uses(field)] == ["title", "text"]
    assert [field for field in fields if AUTHORS.source.uses(field)] == ["label", "metadata.author"]
    whole = Function(dict, inputs=("metadata",))
    assert [field for field in fields if whole.uses(field)] == ["metadata.author"]
    queried = Function(dict, inputs=("n",), sql="select collection, label as n from documents")
    assert [field for field in fields if queried.uses(field)] == ["label"]
    assert not Table("x.csv", "author", "at").uses("label")
