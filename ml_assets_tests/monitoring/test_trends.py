"""Where series stand, as numbers, as blocks, and as pictures that stay small."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_assets.monitoring.plots import comparison_plot, trend_plot
from ml_assets.monitoring.trends import Trend, family_trends, sparkline, trends_of
from ml_assets.stores import duckdb
from ml_assets.stores.sql import statement
from ml_assets.training.results import SUMMARIZED, read_summaries

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

INSERT = """
insert into experiment_performance
    (run_id, training_set_hash, family, fingerprint, split, label, metric, value, logged_at)
select format('{:04d}', i), i, family, 'f', split, '', metric, value + (i * 7 % 13) / 10,
    timestamptz '2026-01-01' + interval (i) day
from range($trainings) each(i),
    (values ('tfidf$'), ('linear')) as families(family),
    (values ('test', 'macro_f1', 0.5), ('', 'fit_seconds', 2.0)) as numbers(split, metric, value)
"""


@pytest.fixture
def duck(tmp_path: Path) -> Iterator[duckdb.Connection]:
    with duckdb.connect(tmp_path / "offline.duckdb") as opened:
        opened.execute(INSERT, {"trainings": 31})
        yield opened


def trend(values: list[float], name: str = "a") -> Trend:
    times = tuple(BEGIN + timedelta(days=place) for place in range(len(values)))
    return Trend(name, "metric", times, tuple(values))


def test_a_trend_is_what_the_view_for_sql_says(duck: duckdb.Connection) -> None:
    summaries = read_summaries(duck, 100)
    found = {(each.name, each.metric): each for each in family_trends(summaries)}
    rows = duck.execute(statement("duckdb/training/trends"), {"family": None}).fetchall()
    assert len(rows) == len(found) == 4
    for family, metric, trainings, last, average, p5, p95, change in rows:
        each = found[family, metric]
        assert len(each.values) == trainings == 31
        numbers = [each.last, each.moving_average, each.quantile(0.05), each.quantile(0.95)]
        assert [*numbers, each.change] == pytest.approx([last, average, p5, p95, change])


def test_the_last_summaries_are_read_the_first_of_them_first(duck: duckdb.Connection) -> None:
    last = read_summaries(duck, 3, "linear")
    assert [each.run_id for each in last] == ["0028", "0029", "0030"]
    assert {each.family for each in last} == {"linear"}
    assert last[0].macro_f1 == pytest.approx(0.5 + 28 * 7 % 13 / 10)
    assert last[0].model_bytes is None
    assert {*SUMMARIZED} > {"macro_f1", "fit_seconds", "model_bytes"}


def test_a_series_of_one_has_no_change() -> None:
    assert trend([3.0]).row() == {
        "series": "a",
        "metric": "metric",
        "values": 1,
        "last": 3.0,
        "change": None,
        "moving_average": 3.0,
        "p5": 3.0,
        "p95": 3.0,
    }


def test_what_is_not_known_is_left_out() -> None:
    rows = [{"at": BEGIN, "x": None, "y": 1}, {"at": BEGIN, "x": 2, "y": None}]
    found = trends_of("a", rows, "at", ("x", "y"))
    assert [(each.metric, each.values) for each in found] == [("x", (2.0,)), ("y", (1.0,))]
    assert trends_of("a", [{"at": BEGIN, "x": None}], "at", ("x",)) == []


@given(st.lists(st.none() | st.floats(-1e9, 1e9), max_size=40))
def test_a_sparkline_orders_as_its_values(values: list[float | None]) -> None:
    line = sparkline(values, 30)
    shown = values[-30:]
    assert len(line) == len(shown)
    pairs = [(v, block) for v, block in zip(shown, line, strict=True) if v is not None]
    assert [block == " " for block in line] == [value is None for value in shown]
    ordered = sorted(pairs, key=lambda pair: pair[0])
    assert [block for _, block in ordered] == sorted(block for _, block in pairs)
    if pairs and ordered[0][0] < ordered[-1][0]:
        assert (ordered[0][1], ordered[-1][1]) == ("▁", "█")


def test_pictures_are_bounded_whatever_there_is(duck: duckdb.Connection) -> None:
    summaries = read_summaries(duck, 100)
    figure = comparison_plot(summaries)
    panels = figure.axes
    assert [len(axes.patches) for axes in panels] == [10] * 5
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names[-1] == f"{summaries[-1].family} {summaries[-1].run_id[:6]}"
    trends = [trend([float(i + n) for i in range(1_000)], f"${n}$_{{") for n in range(30)]
    marks = {f"release {n}": BEGIN + timedelta(days=900 + n) for n in range(50)}
    marks["before"] = BEGIN - timedelta(days=1)
    shown = trend_plot("$unclosed", trends, marks)
    (axes,) = shown.axes
    series = [line for line in axes.lines if len(line.get_xdata()) > 2]  # type: ignore[arg-type]
    assert len(series) == 10
    assert {len(line.get_xdata()) for line in series} == {400}  # type: ignore[arg-type]
    assert [text.get_text() for text in axes.texts] == [f"release {n}" for n in range(40, 50)]
    for each in (figure, shown):
        content = io.BytesIO()
        each.savefig(content, format="png", dpi=80, bbox_inches="tight")
        assert 1_000 < len(content.getvalue()) < 200_000


def test_a_picture_of_nothing_is_one() -> None:
    figure = trend_plot("nothing", [], {"release 1": BEGIN})
    assert [*figure.axes[0].texts] == [*figure.axes[0].lines] == []
